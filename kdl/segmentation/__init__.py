"""Semantic segmentation: networks that name the class of each pixel."""

import keras  # first: what Keras registers imports the rooms, in their own order

from kdl.segmentation.spnet import SPNet, SPNet50, SPNet101
