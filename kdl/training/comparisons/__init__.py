"""Models trained alike, side by side."""
