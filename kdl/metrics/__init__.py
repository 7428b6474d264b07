"""Metrics, one public class a file."""

import keras  # first: what Keras registers imports the rooms, in their own order

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
