"""Share of the boxes of a data set that anchors can match."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from kdl._report import Report
from kdl._typing import ArrayLike
from kdl.ops.boxes import box_iou

_CHUNK = 64  # boxes whose overlaps with all anchors are computed at once
# COCO's areas of small, medium and large objects.
_SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}
_MOST_SHAPES = 6
_LISTED = 5


@dataclasses.dataclass(frozen=True)
class AnchorShape:
    """An anchor that would match boxes, if it stood on them.

    Attributes:
        size: Square root of its area, in pixels; of `AnchorGenerator.sizes`.
        ratio: Height over width; of `AnchorGenerator.ratios`.
        boxes: Number of boxes without a match so far that it would match.
    """

    size: float
    ratio: float
    boxes: int


@dataclasses.dataclass(frozen=True, eq=False)
class AnchorCoverage(Report):
    """Report of `anchor_coverage`: printed, as JSON, or saved as either.

    Attributes:
        boxes: float32 `(n, 4)`, all boxes.
        images: int64 `(n,)`, the image of each.
        best_iou: float32 `(n,)`, its largest intersection over union with an anchor.
        matched: bool `(n,)`, whether that is the threshold at least.
        share: Share of the boxes that are matched; 1 if there are none.
        by_size: Dict: `"small"`, `"medium"` and `"large"`, by COCO's areas up to 32², 96² and above
            → `(number of boxes, share of them that is matched)`.
        suggestions: `AnchorShape`s for boxes without a match, those that match the most first.
        threshold: IoU from which on a box is matched.
    """

    boxes: np.ndarray
    images: np.ndarray
    best_iou: np.ndarray
    matched: np.ndarray
    share: float
    by_size: dict[str, tuple[int, float]]
    suggestions: list[AnchorShape]
    threshold: float

    def __str__(self):
        count = len(self.boxes)
        lines = [
            f"{self.matched.sum()} of {count} boxes ({self.share:.1%}) have an anchor with an IoU "
            f"of {self.threshold:g} or more."
        ]
        lines += [
            f"  {name}: {share:.1%} of {number}"
            for name, (number, share) in self.by_size.items()
            if number
        ]
        worst = np.argsort(self.best_iou, kind="stable")[:_LISTED]
        for row in worst[~self.matched[worst]]:
            width, height = self.boxes[row, 2:] - self.boxes[row, :2]
            lines.append(
                f"  no anchor: {width:.0f} × {height:.0f} pixels (width × height) in image "
                f"{self.images[row]}, best IoU {self.best_iou[row]:.2f}"
            )
        lines += [
            f"  anchors of size {shape.size:.0f} and ratio {shape.ratio:.2f} (height / width) "
            f"would match {shape.boxes} more"
            for shape in self.suggestions
        ]
        return "\n".join(lines)


def anchor_coverage(data: Any, anchors: ArrayLike, threshold: float = 0.5) -> AnchorCoverage:
    """Share of a data set's boxes that anchors can match, and the anchors that others would need.

    A box whose IoU with every anchor is below the matcher's threshold is found by none, or only by
    the anchor that is forced upon it (`kdl.detection.Matcher`): a detector whose anchors miss many
    does not learn, whatever its loss. This is computed before training.

    For what is missed, shapes of missed boxes are suggested: again and again the one that matches
    most of those left, if it stood at their centers, until few are left. On a grid an anchor stands
    up to half a stride beside; for small boxes a finer level is needed besides.

    Args:
        data: A `kdl.data.DetectionDataset` or other batches `(images, targets)`, of which one pass
            is read as it is served; a dict of targets with `"boxes"` and `"labels"`, padded with
            the label −1, of which rows with a true `"ignore"` are left out; or boxes
            `(images, n, 4)` or `(n, 4)`, all of them real. Boxes are xyxy, in pixels of the
            detector's input.
        anchors: Boxes `(A, 4)`, such as those that a `kdl.detection.AnchorGenerator` gives.
        threshold: Least IoU of a match, the `positive_threshold` of the matcher. Defaults to 0.5.

    Returns:
        `AnchorCoverage`; `print` it for a report.

    Raises:
        ValueError: If anchors or boxes have other shapes, there are no anchors, or `threshold` is
            out of range.

    Example:
        >>> import numpy as np
        >>> anchors = np.array([[0.0, 0, 16, 16], [16, 0, 32, 16]])
        >>> coverage = anchor_coverage(np.array([[[1.0, 0, 16, 16], [0, 0, 40, 10]]]), anchors)
        >>> print(coverage)
        1 of 2 boxes (50.0%) have an anchor with an IoU of 0.5 or more.
          small: 50.0% of 2
          no anchor: 40 × 10 pixels (width × height) in image 0, best IoU 0.32
          anchors of size 20 and ratio 0.25 (height / width) would match 1 more
    """
    anchors = _numpy(anchors)
    if anchors.ndim != 2 or anchors.shape[1] != 4 or not len(anchors):
        raise ValueError(f"Expected anchors (A, 4), one or more; received shape {anchors.shape}.")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0, up to 1; received {threshold!r}.")
    boxes, images = _boxes(data)
    best = _best_iou(boxes, anchors)
    matched = best >= threshold
    return AnchorCoverage(
        boxes,
        images,
        best,
        matched,
        float(matched.mean()) if len(boxes) else 1.0,
        _by_size(boxes, matched),
        _suggestions(boxes[~matched], threshold),
        threshold,
    )


def _boxes(data):
    """Real boxes `(n, 4)` and the image of each."""
    if isinstance(data, dict) or _is_pair(data):
        parts = [_of_targets(data if isinstance(data, dict) else data[1])]
    elif hasattr(data, "shape") or _holds_numbers(data):
        boxes = _numpy(data)
        if boxes.ndim not in (2, 3) or boxes.shape[-1] != 4:
            raise ValueError(
                f"Expected boxes (images, n, 4) or (n, 4); received shape {boxes.shape}."
            )
        boxes = boxes if boxes.ndim == 3 else boxes[None]
        parts = [_of_targets({"boxes": boxes, "labels": np.zeros(boxes.shape[:2])})]
    else:
        parts = [_of_targets(data[index][1]) for index in range(len(data))]
        if hasattr(data, "epoch"):
            data.epoch = data.epoch  # this was no pass of training
    first, boxes, images = 0, [], []
    for number, of_part, places in parts:
        boxes.append(of_part)
        images.append(places + first)
        first += number
    return np.concatenate(boxes), np.concatenate(images)


def _numpy(values):
    return ops.convert_to_numpy(ops.convert_to_tensor(values, "float32"))


def _holds_numbers(data):
    return isinstance(data, Sequence) and not isinstance(data[0], tuple)


def _is_pair(data):
    """Tell if data is images and targets, as readers give them."""
    return isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], dict)


def _of_targets(targets):
    """Number of images, real boxes and their images, of a batch."""
    labels = np.asarray(targets["labels"])
    boxes = np.asarray(targets["boxes"], "float32")
    if boxes.shape != (*labels.shape, 4) or labels.ndim != 2:
        raise ValueError(
            f"Expected boxes (images, n, 4) and labels (images, n); received shapes {boxes.shape} "
            f"and {labels.shape}."
        )
    real = labels >= 0
    if "ignore" in targets:
        real &= ~np.asarray(targets["ignore"], bool)
    return len(labels), boxes[real], np.nonzero(real)[0]


def _best_iou(boxes, anchors):
    """Largest IoU of each box with an anchor."""
    best = np.zeros(len(boxes), "float32")
    for start in range(0, len(boxes), _CHUNK):
        chunk = np.zeros((_CHUNK, 4), "float32")  # of one shape, which JAX compiles once
        chunk[: len(boxes) - start] = boxes[start : start + _CHUNK]
        ious = ops.convert_to_numpy(ops.max(box_iou(chunk, anchors), 1))
        best[start : start + _CHUNK] = ious[: len(boxes) - start]
    return best


def _by_size(boxes, matched):
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    shares = {}
    for name, (low, high) in _SIZES.items():
        inside = (areas >= low) & (areas < high)
        shares[name] = (
            int(inside.sum()),
            float(matched[inside].mean()) if inside.any() else 1.0,
        )
    return shares


def _suggestions(missed, threshold):
    """Shapes that would match most of the missed boxes."""
    sides = missed[:, 2:] - missed[:, :2]
    least, shapes = 0.02 * len(sides), []
    # One anchor and one box around the same center share the smaller sides.
    candidates = sides[:: max(len(sides) // 512, 1)]
    while len(sides) > least and len(shapes) < _MOST_SHAPES:
        shared = np.minimum(candidates[:, None], sides).prod(-1)
        union = candidates.prod(-1)[:, None] + sides.prod(-1) - shared
        fits = shared >= threshold * union
        best = fits.sum(1).argmax()
        number = int(fits[best].sum())
        if not number:
            break
        width, height = candidates[best]
        shapes.append(AnchorShape(float((width * height) ** 0.5), float(height / width), number))
        sides = sides[~fits[best]]
    return shapes
