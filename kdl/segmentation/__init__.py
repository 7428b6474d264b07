"""Semantic segmentation: networks that name the class of each pixel."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.segmentation.spnet import SPNet, SPNet50, SPNet101

__all__ = [
    "SPNet",
    "SPNet50",
    "SPNet101",
]

__dir__ = _lazy.names_in_all(globals())
