"""Runnable comparisons and their committed results: `python -m benchmarks --list`."""
