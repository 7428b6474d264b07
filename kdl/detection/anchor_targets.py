"""What each anchor of a detector is to find."""

from typing import NamedTuple

from keras import ops

from kdl._typing import ArrayLike, Tensor
from kdl.detection.matcher import Matcher
from kdl.ops._shapes import shapes_match
from kdl.ops.boxes import box_iog

_COVERED = 0.5  # share of an anchor in a box to ignore from which on it does not count


class AnchorTargets(NamedTuple):
    """Targets of anchors, or of proposals: masks, no numbers with a meaning of their own.

    Background is no class: where `positive` is False, labels and boxes are of the nearest truth, or
    zeros, and count for nothing.

    Attributes:
        labels: int32 `(batch, anchors)`, the class `0 … K − 1`.
        boxes: float32 `(batch, anchors, 4)`, the truth's box.
        positive: bool `(batch, anchors)`, whether an anchor is to find that truth.
        valid: bool `(batch, anchors)`, whether it is positive or background; others are left out.
        indices: int32 `(batch, anchors)`, the place of that truth in its image.
    """

    labels: Tensor
    boxes: Tensor
    positive: Tensor
    valid: Tensor
    indices: Tensor


def assign_targets(
    matcher: Matcher,
    anchors: ArrayLike,
    boxes: ArrayLike,
    labels: ArrayLike,
    ignore: ArrayLike | None = None,
) -> AnchorTargets:
    """Target of each anchor: the class and box of the truth that the matcher gives it.

    An anchor that lies half or more in a box to ignore, and finds nothing else, is left out.

    Args:
        matcher: Assigns anchors to ground truth.
        anchors: Boxes `(anchors, 4)`, or `(batch, anchors, 4)`.
        boxes: Ground truth `(batch, G, 4)`.
        labels: Classes `(batch, G)`; rows whose label is negative are padding.
        ignore: Bool `(batch, G)`, boxes that are neither objects nor background, such as crowds.
            Defaults to None, none.

    Raises:
        ValueError: If shapes do not fit.

    Example:
        >>> import numpy as np
        >>> anchors = np.array([[0.0, 0, 4, 4], [9, 9, 13, 13]])
        >>> boxes, labels = np.array([[[0.0, 0, 4, 5], [0, 0, 0, 0]]]), np.array([[7, -1]])
        >>> targets = assign_targets(Matcher(), anchors, boxes, labels)
        >>> [bool(positive) for positive in targets.positive[0]], int(targets.labels[0, 0])
        ([True, False], 7)
    """
    boxes, labels = ops.cast(boxes, "float32"), ops.cast(labels, "int32")
    if len(boxes.shape) != 3 or not shapes_match(labels.shape, boxes.shape[:2]):
        raise ValueError(
            f"Expected boxes (batch, G, 4) and labels (batch, G); received shapes "
            f"{tuple(boxes.shape)} and {tuple(labels.shape)}."
        )
    boxes = ops.where(ops.expand_dims(labels >= 0, -1), boxes, 0.0)
    exists = labels >= 0
    ignored = ops.zeros_like(exists) if ignore is None else ops.cast(ignore, "bool") & exists
    matches = matcher(anchors, boxes, exists & ~ignored)
    valid = matches.valid
    if ignore is not None:
        covered = (box_iog(boxes, anchors) >= _COVERED) & ops.expand_dims(ignored, -1)
        valid = matches.positive | (valid & ~ops.any(covered, 1))
    # One row more, so that there is one to take from where an image has none.
    boxes, labels = ops.pad(boxes, ((0, 0), (0, 1), (0, 0))), ops.pad(labels, ((0, 0), (0, 1)))
    return AnchorTargets(
        ops.maximum(ops.take_along_axis(labels, matches.indices, 1), 0),
        ops.take_along_axis(boxes, ops.expand_dims(matches.indices, -1), 1),
        matches.positive,
        valid,
        matches.indices,
    )
