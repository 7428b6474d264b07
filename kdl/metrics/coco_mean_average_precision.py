"""Mean average precision and recall of COCO, of boxes and of masks."""

from typing import Any

import keras
import numpy as np

from kdl._checks import check_choice
from kdl._typing import DType
from kdl.metrics._detections import check_images, join, read_boxes
from kdl.metrics._host_metric import HostMetric
from kdl.metrics._mask_runs import check_one_size, mask_areas, mask_overlaps
from kdl.metrics._matching import areas, box_overlaps, close_pairs, match, ranks

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
# Name: what is averaged, area range, most detections, threshold.
NUMBERS = {
    "AP": ("precision", "all", 100, None),
    "AP50": ("precision", "all", 100, 0.5),
    "AP75": ("precision", "all", 100, 0.75),
    "APs": ("precision", "small", 100, None),
    "APm": ("precision", "medium", 100, None),
    "APl": ("precision", "large", 100, None),
    "AR1": ("recall", "all", 1, None),
    "AR10": ("recall", "all", 10, None),
    "AR100": ("recall", "all", 100, None),
    "ARs": ("recall", "small", 100, None),
    "ARm": ("recall", "medium", 100, None),
    "ARl": ("recall", "large", 100, None),
}
_MOST = 100


@keras.saving.register_keras_serializable("kdl")
class CocoMeanAveragePrecision(HostMetric):
    """COCO mean average precision (mAP) of boxes or masks: the twelve numbers of pycocotools.

    For each class, at each overlap `.50, .55, …, .95`, detections of all images by falling score
    give a curve of precision over recall. Precision is made non-increasing from the right and read
    at the recalls `0, .01, …, 1`: `AP` is the mean over these, the overlaps and the classes. `AR`
    is the mean of the largest recall over overlaps and classes, with at most so many detections an
    image and class. `APs`, `APm`, `APl` are of areas up to 32², up to 96², and above, ends
    included; other ground truths, and detections that match nothing, then do not count.

    A detection takes the free ground truth of its class that overlaps most. Crowd regions are taken
    any number of times, by the share of the detection that they cover, and such detections do not
    count. Classes without ground truth are left out; a number with no class left is −1.

    The result is a dict of `"AP"`, `"AP50"`, `"AP75"`, `"APs"`, `"APm"`, `"APl"`, `"AR1"`,
    `"AR10"`, `"AR100"`, `"ARs"`, `"ARm"`, `"ARl"`, from 0 to 1. Equal scores go in the order in
    which the boxes were given. See `kdl.metrics.VocMeanAveragePrecision` for where such a metric
    runs.

    Shapes: `y_true` is a dict of `"boxes"` `(batch, N, 4)`, xyxy in pixels, and `"labels"`
    `(batch, N)`, padded with the label −1; `"crowd"` `(batch, N)` and `"area"` `(batch, N)`, by
    default that of the box or mask, are optional. `y_pred` is a dict of `"boxes"`, `"labels"` and
    `"scores"`, padded likewise. Lists with an array for each image do as well.

    With `kind="segm"`, both have `"masks"` in place of boxes, `(batch, N, height, width)` of 0 and
    1, or lists with an array or a list of run lengths, as of `kdl.ops.encode_rle`, for each image.
    Areas, of detections too, are numbers of pixels; `"area"` in `y_pred` overrides them, as
    pycocotools takes that of the box if results have one beside the mask. Masks are held as run
    lengths from batch to batch.

    Args:
        name: Name of the metric.
        dtype: Dtype of the metric; the result is float64.
        kind: `"bbox"` (default) compares boxes, `"segm"` masks.

    Raises:
        ValueError: If `kind` is none of these; in `update_state`, if a key is missing, shapes do
            not fit, a box has a negative side or NaN, a mask is none, or masks of an image differ
            in size.

    Source: cocodataset/cocoapi, `PythonAPI/pycocotools/cocoeval.py`.

    Example:
        >>> import numpy as np
        >>> metric = CocoMeanAveragePrecision()
        >>> truth = {"boxes": np.array([[[0, 0, 50, 40]]]), "labels": np.array([[3]])}
        >>> found = {"boxes": np.array([[[0, 0, 50, 32]]]), "labels": np.array([[3]])}
        >>> metric.update_state(truth, {**found, "scores": np.array([[0.9]])})
        >>> result = metric.result()  # an overlap of .8 is enough at 7 of 10 thresholds
        >>> round(result["AP"], 3), round(result["AP50"], 3), result["APl"]
        (0.7, 1.0, -1.0)
    """

    def __init__(
        self,
        name: str | None = "coco_mean_average_precision",
        dtype: DType = None,
        kind: str = "bbox",
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.kind = check_choice("kind", kind, ("bbox", "segm"))

    def collect(self, y_true: dict, y_pred: dict) -> tuple:
        """The boxes or masks of a batch, checked."""
        of_masks, area = self.kind == "segm", {"area": (0,)}
        geometry = "masks" if of_masks else "boxes"
        images, truths = read_boxes("y_true", y_true, (), ("crowd",), area, geometry)
        optional = area if of_masks else None
        count, detections = read_boxes("y_pred", y_pred, ("scores",), (), optional, geometry)
        check_images(images, count)
        if of_masks:
            check_one_size(truths, detections)
        for table in (truths, detections):
            table.setdefault("area", (mask_areas if of_masks else areas)(table[geometry]))
        return (images, truths), (count, detections)

    def compute(self, parts: list) -> dict[str, float]:
        """The twelve numbers."""
        if not parts:
            return dict.fromkeys(NUMBERS, -1.0)
        _, truths = join([part[0] for part in parts])
        _, detections = join([part[1] for part in parts])
        curves = _Curves(truths, detections)
        return {
            name: curves.mean(kind, area, most, threshold)
            for name, (kind, area, most, threshold) in NUMBERS.items()
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype, "kind": self.kind}

    def _on_host(self, structure):
        """Arrays; run lengths of masks, texts and numbers, stay what they are."""
        convert = super()._on_host
        if not isinstance(structure, dict):
            return convert(structure)
        host = convert({key: value for key, value in structure.items() if key != "masks"})
        if self.kind == "segm" and "masks" in structure:
            masks = structure["masks"]
            host["masks"] = _by_image(masks, convert) if _is_list(masks) else convert(masks)
        return host


def _by_image(masks, convert):
    return [image if _is_list(image) else convert(image) for image in masks]


def _is_list(value):
    return isinstance(value, list | tuple)


class _Curves:
    """Precision and recall for the area ranges, from one set of pairs."""

    def __init__(self, truths, detections):
        labels = np.r_[truths["labels"], detections["labels"]]
        names, classes = np.unique(labels, return_inverse=True)
        split = len(truths["labels"])
        truth_groups = truths["image"] * len(names) + classes[:split]
        groups = detections["image"] * len(names) + classes[split:]
        places = ranks(groups, detections["scores"])
        best = np.flatnonzero(places < _MOST)
        # By falling score; equal ones by image and by their order in it.
        image, score = detections["image"][best], detections["scores"][best]
        best = best[np.lexsort((places[best], image, -score))]
        self.classes, self.truth_classes = classes[split:][best], classes[:split]
        self.groups, self.places = groups[best], places[best]
        self.areas, self.truth_areas = detections["area"][best], truths["area"]
        self.crowd = truths["crowd"]
        if "masks" in truths:
            overlap = mask_overlaps(detections["masks"][best], truths["masks"], self.crowd)
        else:
            overlap = box_overlaps(detections["boxes"][best], truths["boxes"], self.crowd)
        self.pairs = close_pairs(self.groups, truth_groups, overlap, THRESHOLDS[0])
        self.outcomes = {area: self._outcomes(*AREAS[area]) for area in AREAS}
        self.cache = {}

    def mean(self, kind, area, most, threshold):
        """The mean over thresholds and classes, or −1."""
        if (area, most) not in self.cache:
            self.cache[area, most] = self._measure(area, most)
        values = self.cache[area, most][kind]
        if threshold is not None:
            values = values[:, np.isclose(THRESHOLDS, threshold)]
        return float(values.mean()) if values.size else -1.0

    def _outcomes(self, low, high):
        """Of each detection and threshold, whether it counts as true, or as false; evaluable."""
        ignored = self.crowd | (self.truth_areas < low) | (self.truth_areas > high)
        matched = match(self.pairs, self.groups, self.places, ignored, self.crowd, THRESHOLDS)
        outside = (self.areas < low) | (self.areas > high)
        none = matched < 0
        drop = np.r_[ignored, False][matched]
        return ~none & ~drop, none & ~outside[:, None], ~ignored

    def _measure(self, area, most):
        """Precision at the recalls, `(classes, thresholds, 101)`, and the largest recall."""
        true, false, evaluable = self.outcomes[area]
        totals = np.bincount(self.truth_classes[evaluable], minlength=1)
        precision, recall = [], []
        for label in np.flatnonzero(totals):
            rows = (self.classes == label) & (self.places < most)
            curve = precision_curve(true[rows], false[rows], totals[label])
            precision.append(curve[0])
            recall.append(curve[1])
        shape = (len(precision), len(THRESHOLDS))
        return {
            "precision": np.reshape(precision, (*shape, len(RECALLS))),
            "recall": np.reshape(recall, shape),
        }


def precision_curve(
    true: np.ndarray, false: np.ndarray, total: int
) -> tuple[np.ndarray, np.ndarray]:
    """Precision at the 101 recalls, `(T, 101)`, and the largest recall, for each threshold.

    Args:
        true: Which detections are right `(detections, T)`, by falling score.
        false: Which are wrong.
        total: Number of ground truths.
    """
    if not len(true):
        return np.zeros((true.shape[1], len(RECALLS))), np.zeros(true.shape[1])
    right, wrong = (np.cumsum(hits, 0, dtype="float64") for hits in (true, false))
    recall = right / total
    precision = right / (right + wrong + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    curves = []
    for column in range(true.shape[1]):
        at = np.searchsorted(recall[:, column], RECALLS)
        curves.append(np.append(precision[:, column], 0)[at])
    return np.array(curves), recall[-1]
