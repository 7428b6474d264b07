"""Metrics, one public class a file.

Give `compile` the object, not a name: Keras looks names up among its own alone, and `"MeanIoU"` is
its own.
"""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.metrics.active_triplets import ActiveTriplets
from kdl.metrics.coco_mean_average_precision import CocoMeanAveragePrecision
from kdl.metrics.embedding_collapse import EmbeddingCollapse
from kdl.metrics.expected_calibration_error import ExpectedCalibrationError
from kdl.metrics.jaccard_index import JaccardIndex
from kdl.metrics.log_average_miss_rate import LogAverageMissRate
from kdl.metrics.mean_iou import MeanIoU
from kdl.metrics.mixup_accuracy import MixupAccuracy
from kdl.metrics.retrieval_metrics import RetrievalMetrics
from kdl.metrics.voc_mean_average_precision import VocMeanAveragePrecision

__all__ = [
    "ActiveTriplets",
    "CocoMeanAveragePrecision",
    "EmbeddingCollapse",
    "ExpectedCalibrationError",
    "JaccardIndex",
    "LogAverageMissRate",
    "MeanIoU",
    "MixupAccuracy",
    "RetrievalMetrics",
    "VocMeanAveragePrecision",
]

__dir__ = _lazy.names_in_all(globals())
