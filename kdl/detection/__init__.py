"""Object detection: the parts that detectors are arranged of."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.detection.anchor_coverage import AnchorCoverage, anchor_coverage
from kdl.detection.anchor_generator import AnchorGenerator
from kdl.detection.anchor_targets import AnchorTargets, assign_targets
from kdl.detection.balanced_sampler import BalancedSampler
from kdl.detection.box_coder import BoxCoder
from kdl.detection.default_boxes import DefaultBoxes
from kdl.detection.feature_pyramid import FeaturePyramid
from kdl.detection.matcher import Matcher, Matches

__all__ = [
    "AnchorCoverage",
    "AnchorGenerator",
    "AnchorTargets",
    "BalancedSampler",
    "BoxCoder",
    "DefaultBoxes",
    "FeaturePyramid",
    "Matcher",
    "Matches",
    "anchor_coverage",
    "assign_targets",
]

__dir__ = _lazy.names_in_all(globals())
