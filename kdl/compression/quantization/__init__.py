"""Quantization-aware training and calibration after training."""
