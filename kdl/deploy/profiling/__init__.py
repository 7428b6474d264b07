"""Latency of a `.tflite` file, in all and by operation, and its memory."""
