"""Layers that compute as a quantized file will."""
