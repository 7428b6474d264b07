"""Weights of reference networks: sources, safe reading, conversion."""
