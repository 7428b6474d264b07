"""Weights of reference networks: where they come from, and how they are read and converted."""
