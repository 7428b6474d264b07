"""Metrics, one public class a file."""

import keras  # first: what Keras registers imports the rooms, in their own order

from kdl.metrics.mean_iou import MeanIoU
