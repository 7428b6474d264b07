"""Mean average precision of Pascal VOC."""

from typing import Any

import keras
import numpy as np

from kdl._checks import check_choice
from kdl._typing import DType
from kdl.metrics._detections import check_images, check_threshold, join, read_boxes
from kdl.metrics._host_metric import HostMetric
from kdl.metrics._matching import box_overlaps, close_pairs, ranks

METHODS = ("11_point", "all_point")


@keras.saving.register_keras_serializable("kdl")
class VocMeanAveragePrecision(HostMetric):
    """Pascal VOC mean average precision (mAP) of boxes, 2007 or 2010 and later.

    It is the mean over the classes of the area under precision over recall.

    Detections of a class go by falling score. Each is for the ground truth of its image and class
    that it overlaps most, taken or not: it is right if they overlap by `threshold` and no
    detection was right for it before, and wrong otherwise. Where that ground truth is difficult,
    the detection does not count.

    `AP = Σ_i (r_i − r_{i−1}) · max_{j ≥ i} p_j` with `method="all_point"` (VOC 2010 and later), and
    `AP = Σ_{r = 0, .1, …, 1} max_{r_j ≥ r} p_j / 11` with `"11_point"` (VOC 2007), where the tenths
    are exact. Classes without a ground truth that counts are left out; if none is left, the result
    is −1. Equal scores go in the order in which the boxes were given. `per_class` gives the AP of
    each class.

    The metric needs the whole set at once: use it in a loop or in `kdl.training.HostEvaluation`,
    not in `compile`.

    Shapes: `y_true` is a dict of `"boxes"` `(batch, N, 4)`, xyxy, and `"labels"` `(batch, N)`,
    padded with the label −1; `"difficult"` `(batch, N)` is optional. `y_pred` is a dict of
    `"boxes"`, `"labels"` and `"scores"`, padded likewise. Lists with an array for each image
    do as well.

    Args:
        threshold: Least overlap of a match, above 0 and up to 1. Defaults to 0.5.
        method: `"all_point"` (default) or `"11_point"`.
        pixel_boxes: Whether the right and lower edges are pixels of the box, as in the VOC devkit,
            so that sides are longer by 1. Defaults to False.
        name: Name of the metric.
        dtype: Dtype of the metric; the result is a float.

    Raises:
        ValueError: If `threshold` or `method` is unknown; in `update_state`, if a key is missing,
            shapes do not fit, or a box has a negative side or NaN.

    Source: The PASCAL Visual Object Classes Challenge (IJCV 2010), section 4.2, and the devkit.

    Example:
        >>> import numpy as np
        >>> metric = VocMeanAveragePrecision()
        >>> boxes = np.array([[[0, 0, 10, 10], [20, 0, 30, 10]]])
        >>> truth = {"boxes": boxes, "labels": np.array([[3, 3]])}
        >>> found = {"boxes": boxes[:, :1], "labels": np.array([[3]])}
        >>> metric.update_state(truth, {**found, "scores": np.array([[0.9]])})
        >>> metric.result()
        0.5
    """

    def __init__(
        self,
        threshold: float = 0.5,
        method: str = "all_point",
        pixel_boxes: bool = False,
        name: str | None = "voc_mean_average_precision",
        dtype: DType = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        check_threshold(threshold)
        check_choice("method", method, METHODS)
        self.threshold = threshold
        self.method = method
        self.pixel_boxes = pixel_boxes

    def collect(self, y_true: dict, y_pred: dict) -> tuple:
        """The boxes of a batch, checked."""
        images, truths = read_boxes("y_true", y_true, flags=("difficult",))
        count, detections = read_boxes("y_pred", y_pred, numbers=("scores",))
        check_images(images, count)
        return (images, truths), (count, detections)

    def compute(self, parts: list) -> float:
        """The mean over the classes."""
        values = self._per_class(parts)
        return float(np.mean(list(values.values()))) if values else -1.0

    def per_class(self) -> dict[int, float]:
        """AP of each class that has a ground truth that counts: a dict, by class number."""
        return self._per_class(self._parts)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "threshold": self.threshold,
            "method": self.method,
            "pixel_boxes": self.pixel_boxes,
            "name": self.name,
            "dtype": self.dtype,
        }

    def _per_class(self, parts):
        if not parts:
            return {}
        _, truths = join([part[0] for part in parts])
        _, detections = join([part[1] for part in parts])
        # The sort is stable: equal scores stay in the order of images and boxes.
        order = np.argsort(-detections["scores"], kind="stable")
        detections = {key: value[order] for key, value in detections.items()}
        right, counts = self._outcomes(truths, detections)
        measure = all_point if self.method == "all_point" else eleven_point
        values = {}
        for label in np.unique(truths["labels"][~truths["difficult"]]).tolist():
            total = np.sum((truths["labels"] == label) & ~truths["difficult"])
            values[label] = measure(right[counts & (detections["labels"] == label)], total)
        return values

    def _outcomes(self, truths, detections):
        """Booleans of the detections, in their order: those that are right, and that count."""
        labels = max([*truths["labels"], *detections["labels"]], default=0) + 1
        pairs = close_pairs(
            detections["image"] * labels + detections["labels"],
            truths["image"] * labels + truths["labels"],
            box_overlaps(detections["boxes"], truths["boxes"], pixels=self.pixel_boxes),
            self.threshold,
        )
        closest = ranks(pairs[0], pairs[2]) == 0
        detection, truth = pairs[0][closest], pairs[1][closest]
        difficult = truths["difficult"][truth]
        counts = np.ones(len(detections["labels"]), bool)
        counts[detection[difficult]] = False
        right = np.zeros(len(detections["labels"]), bool)
        detection, truth = detection[~difficult], truth[~difficult]
        right[detection[np.unique(truth, return_index=True)[1]]] = True
        return right, counts


def all_point(right: np.ndarray, total: int) -> float:
    """Area under the envelope of precision over recall.

    Args:
        right: Which detections are right, by falling score.
        total: Number of ground truths.
    """
    hits = np.cumsum(right)
    envelope = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float(np.sum(envelope[right]) / total)


def eleven_point(right: np.ndarray, total: int) -> float:
    """Mean of the largest precision at the recalls 0, 0.1, …, 1 and above.

    Args:
        right: Which detections are right, by falling score.
        total: Number of ground truths.
    """
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    # In whole numbers: six tenths are not a float.
    enough = 10 * hits >= total * np.arange(11)[:, None]
    return float(np.mean(np.max(np.where(enough, precision, 0), axis=-1, initial=0)))
