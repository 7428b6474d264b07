"""Models in operations that a device takes, with the same outputs."""
