"""Quantization-aware training and post-training quantization."""
