"""Log-average miss rate of pedestrian detectors."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kdl._typing import DType
from kdl.metrics._detections import check_images, check_threshold, join, read_boxes
from kdl.metrics._host_metric import HostMetric
from kdl.metrics._matching import areas, box_overlaps, close_pairs, match, ranks

# Name: least and largest height, least and largest visibility. "Heavy" is that of CityPersons's
# script; many papers give the wider "HeavyPapers" under the same name.
SUBSETS = {
    "Reasonable": ((50, math.inf), (0.65, math.inf)),
    "Small": ((50, 75), (0.65, math.inf)),
    "Heavy": ((50, math.inf), (0.2, 0.65)),
    "HeavyPapers": ((50, math.inf), (0.0, 0.65)),
    "Partial": ((50, math.inf), (0.65, 0.9)),
    "Bare": ((50, math.inf), (0.9, math.inf)),
    "All": ((20, math.inf), (0.2, math.inf)),
}
REFERENCES = 10.0 ** np.arange(-2, 0.25, 0.25)
_MOST = 1000
_MARGIN = 1.25


@keras.saving.register_keras_serializable("kdl")
class LogAverageMissRate(HostMetric):
    """Log-average miss rate (MR⁻²) of pedestrians, in subsets by height and visibility.

    Detections of all images go by falling score and give a curve of recall over false positives
    per image. `MR⁻² = exp(mean_r ln(1 − recall(r)))` over the nine `r = 10^−2, 10^−1.75, …, 10^0`,
    with the recall of the last point that has at most `r` false positives per image, 0 if there is
    none, and `1 − recall` of at least 1e-10. Papers print it times 100; less is better.

    In each subset, ground truths outside its heights or visibilities (ends included) are ignored,
    as are those marked so. Of an image's detections the best 1000 count, and of these the ones with
    heights from the least `/ 1.25` to below the largest `· 1.25`. By falling score, each takes the
    free evaluable ground truth that it overlaps most, by `threshold` at least. If there is none and
    an ignored one covers that share of the detection's own area, the detection does not count;
    ignored ones may be used any number of times. Otherwise it is false.

    The result is a dict with a number for each subset, −1 where it holds no ground truth. Equal
    scores go in the order in which the boxes were given. See `kdl.metrics.VocMeanAveragePrecision`
    for where such a metric runs.

    Shapes: `y_true` is a dict of `"boxes"` `(batch, N, 4)`, xyxy in pixels of the original image,
    and `"labels"` `(batch, N)`, padded with the label −1. Optional are `"ignore"` `(batch, N)`,
    and `"visible"`, the visible parts as boxes `(batch, N, 4)` or as shares of the area
    `(batch, N)`; by default all is visible. `y_pred` is a dict of `"boxes"`, `"labels"` and
    `"scores"`, padded likewise. Lists with an array for each image do as well.

    Args:
        subsets: Names of subsets, of `"Reasonable"`, `"Small"`, `"Heavy"`, `"HeavyPapers"`,
            `"Partial"`, `"Bare"` and `"All"`, or a dict of one's own: name to
            `((least height, largest), (least visibility, largest))`. Defaults to None: all seven.
            `"Heavy"` is of visibility .2 to .65 as in CityPersons's script, `"HeavyPapers"` of 0
            to .65 as in Repulsion Loss.
        threshold: Least overlap of a match. Defaults to 0.5.
        class_id: Class of the people. Detections of other classes, and ground truths of other
            classes that are not to be ignored, are left out. Defaults to None: all classes count
            as one.
        name: Name of the metric.
        dtype: Dtype of the metric; the result is of floats.

    Raises:
        ValueError: If a subset is unknown or `threshold` out of range; in `update_state`, if a key
            is missing, shapes do not fit, or a box has a negative side or NaN.

    Source: Pedestrian Detection: An Evaluation of the State of the Art (PAMI 2012), section 3, and
    its MATLAB code for the reference points; CityPersons (arXiv 1702.05693) for the subsets.

    Example:
        >>> import numpy as np
        >>> metric = LogAverageMissRate(["Reasonable", "Heavy"])
        >>> boxes = np.array([[[0, 0, 30, 80], [50, 0, 80, 80]]])
        >>> truth = {"boxes": boxes, "labels": np.array([[0, 0]])}
        >>> found = {"boxes": boxes[:, :1], "labels": np.array([[0]])}
        >>> metric.update_state(truth, {**found, "scores": np.array([[0.9]])})
        >>> {name: round(value, 3) for name, value in metric.result().items()}
        {'Reasonable': 0.5, 'Heavy': -1.0}
    """

    def __init__(
        self,
        subsets: Sequence[str] | dict | None = None,
        threshold: float = 0.5,
        class_id: int | None = None,
        name: str | None = "log_average_miss_rate",
        dtype: DType = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        check_threshold(threshold)
        self._ranges = _ranges(subsets)
        self.subsets = subsets
        self.threshold = threshold
        self.class_id = class_id

    def collect(self, y_true: dict, y_pred: dict) -> tuple:
        """The people of a batch, checked."""
        images, truths = read_boxes(
            "y_true", y_true, flags=("ignore",), optional={"visible": (0, 1)}
        )
        count, detections = read_boxes("y_pred", y_pred, numbers=("scores",))
        check_images(images, count)
        truths["visible"] = _visibility(truths)
        if self.class_id is not None:
            truths = _rows(truths, (truths["labels"] == self.class_id) | truths["ignore"])
            detections = _rows(detections, detections["labels"] == self.class_id)
        return (images, truths), (count, detections)

    def compute(self, parts: list) -> dict[str, float]:
        """The miss rate in each subset."""
        if not parts:
            return dict.fromkeys(self._ranges, -1.0)
        images, truths = join([part[0] for part in parts])
        _, detections = join([part[1] for part in parts])
        detections["place"] = ranks(detections["image"], detections["scores"])
        # By falling score; equal ones by image and by their order in it.
        order = np.lexsort((detections["place"], detections["image"], -detections["scores"]))
        detections = _rows(detections, order[detections["place"][order] < _MOST])
        return {
            name: self._miss_rate(truths, detections, images, *ranges)
            for name, ranges in self._ranges.items()
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "subsets": self.subsets,
            "threshold": self.threshold,
            "class_id": self.class_id,
            "name": self.name,
            "dtype": self.dtype,
        }

    def _miss_rate(self, truths, detections, images, height, visibility):
        evaluable = (
            ~truths["ignore"]
            & _within(_heights(truths["boxes"]), height)
            & _within(truths["visible"], visibility)
        )
        if not evaluable.any():
            return -1.0
        tall = _heights(detections["boxes"])
        detections = _rows(detections, (tall >= height[0] / _MARGIN) & (tall < height[1] * _MARGIN))
        ignored = ~evaluable
        pairs = close_pairs(
            detections["image"],
            truths["image"],
            box_overlaps(detections["boxes"], truths["boxes"], ignored),
            self.threshold,
        )
        groups, places = detections["image"], detections["place"]
        matched = match(pairs, groups, places, ignored, ignored, np.array([self.threshold]))[:, 0]
        counts = ~np.r_[ignored, False][matched]
        return miss_rate(matched[counts] >= 0, evaluable.sum(), images)


def miss_rate(right: np.ndarray, total: int, images: int) -> float:
    """MR⁻² of detections by falling score.

    Args:
        right: Which detections are right.
        total: Number of people.
        images: Number of images.
    """
    alarms = np.cumsum(~right) / images
    recall = np.r_[0, np.cumsum(right) / total]
    at = np.searchsorted(alarms, REFERENCES, side="right")
    return float(np.exp(np.mean(np.log(np.maximum(1 - recall[at], 1e-10)))))


def _ranges(subsets):
    """Name to heights and visibilities."""
    if isinstance(subsets, dict):
        for name, ranges in subsets.items():
            if np.shape(ranges) != (2, 2) or not all(low <= high for low, high in ranges):
                raise ValueError(
                    f"subsets must give ((least height, largest), (least visibility, largest)) "
                    f"for each name; received {ranges!r} for {name!r}."
                )
        return subsets
    unknown = sorted({*(subsets or ())} - {*SUBSETS})
    if unknown:
        raise ValueError(f"subsets must be of {list(SUBSETS)}; received {unknown}.")
    return {name: SUBSETS[name] for name in subsets or SUBSETS}


def _visibility(truths):
    """The visible share of each box."""
    full = areas(truths["boxes"])
    visible = truths.get("visible")
    if visible is None:
        return np.ones(len(full))
    if visible.ndim == 2:
        return np.divide(areas(visible), full, out=np.zeros(len(full)), where=full > 0)
    if (visible < 0).any():
        raise ValueError(
            f'y_true["visible"] must be boxes, or shares from 0 to 1; received {visible.min()}.'
        )
    return visible


def _heights(boxes):
    return boxes[:, 3] - boxes[:, 1]


def _within(values, ends):
    return (values >= ends[0]) & (values <= ends[1])


def _rows(table, index):
    return {key: values[index] for key, values in table.items()}
