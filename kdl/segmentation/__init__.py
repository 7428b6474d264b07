"""Semantic segmentation networks."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.segmentation import registry
from kdl.segmentation.plot_segmentation import plot_segmentation
from kdl.segmentation.predict_labels import predict_labels
from kdl.segmentation.segmentation_scores import segmentation_scores
from kdl.segmentation.spnet import SPNet, SPNet50, SPNet101

__all__ = [
    "SPNet",
    "SPNet50",
    "SPNet101",
    "plot_segmentation",
    "predict_labels",
    "segmentation_scores",
]

__dir__ = _lazy.names_in_all(globals())
