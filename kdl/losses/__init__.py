"""Losses: a function and a class each, one public class a file."""

import keras  # first: what Keras registers imports the rooms, in their own order
