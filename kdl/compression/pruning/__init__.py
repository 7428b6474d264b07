"""Magnitude pruning, its schedules and reports."""
