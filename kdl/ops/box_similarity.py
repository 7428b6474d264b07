"""Generalized, distance and complete intersection over union of boxes.

Each is the IoU less what tells apart boxes that do not overlap, so that a loss of it has a gradient
there. Boxes are as in `kdl.ops.boxes`; what would be divided by zero counts as 0.
"""

import math

from keras import ops

from kdl._typing import ArrayLike, Tensor
from kdl.ops.boxes import added, as_boxes, pairs_of_boxes, ratio


def box_giou(boxes: ArrayLike, others: ArrayLike) -> Tensor:
    """Generalized IoU of each of `boxes` with each of `others`.

    `GIoU = IoU − (area(C) − area(A ∪ B)) / area(C)` with `C`, the smallest box around both.

    Args:
        boxes: Tensor `(…, N, 4)`.
        others: Tensor `(…, M, 4)`; the leading axes broadcast.

    Returns:
        Tensor `(…, N, M)`, from −1 to 1.

    Raises:
        ValueError: If the last axis is not 4, or the rank is below 2.

    Source: Rezatofighi et al., Generalized Intersection over Union (arXiv 1902.09630), algorithm 2.

    Example:
        >>> import numpy as np
        >>> boxes, others = np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [4, 0, 6, 2]])
        >>> [round(float(v), 4) for v in box_giou(boxes, others)[0]]
        [0.3333, -0.3333]
    """
    return giou_of_pairs(*pairs_of_boxes(boxes, others))


def box_diou(boxes: ArrayLike, others: ArrayLike) -> Tensor:
    """Distance IoU of each of `boxes` with each of `others`.

    `DIoU = IoU − d² / c²` with the distance `d` of the centers and the diagonal `c` of the smallest
    box around both.

    Args:
        boxes: Tensor `(…, N, 4)`.
        others: Tensor `(…, M, 4)`; the leading axes broadcast.

    Returns:
        Tensor `(…, N, M)`, from −1 to 1.

    Raises:
        ValueError: If the last axis is not 4, or the rank is below 2.

    Source: Zheng et al., Distance-IoU Loss (arXiv 1911.08287), section 3.2.

    Example:
        >>> import numpy as np
        >>> boxes, others = np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])
        >>> round(float(box_diou(boxes, others)[0, 0]), 4)  # 1/3 − 1/13
        0.2564
    """
    return diou_of_pairs(*pairs_of_boxes(boxes, others))


def box_ciou(boxes: ArrayLike, others: ArrayLike) -> Tensor:
    """Complete IoU of each of `boxes` with each of `others`.

    `CIoU = DIoU − α·v` with the difference of the shapes `v = 4/π² · (atan(w₁/h₁) − atan(w₂/h₂))²`
    and `α = v / (1 − IoU + v)`, a constant for the gradient.

    Args:
        boxes: Tensor `(…, N, 4)`.
        others: Tensor `(…, M, 4)`; the leading axes broadcast.

    Returns:
        Tensor `(…, N, M)`.

    Raises:
        ValueError: If the last axis is not 4, or the rank is below 2.

    Source: Zheng et al., Distance-IoU Loss (arXiv 1911.08287), section 3.3.

    Example:
        >>> import numpy as np
        >>> boxes, others = np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 2], [0, 0, 4, 2]])
        >>> [round(float(v), 4) for v in box_ciou(boxes, others)[0]]
        [1.0, 0.4468]
    """
    return ciou_of_pairs(*pairs_of_boxes(boxes, others))


def giou_of_pairs(boxes, others):
    """GIoU of boxes `(…, 4)` and `(…, 4)` that broadcast."""
    boxes, others = as_boxes(boxes=boxes, others=others)
    iou, union = _iou_and_union(boxes, others)
    sides = _sides_around(boxes, others)
    hull = sides[..., 0] * sides[..., 1]
    return iou - ratio(hull - union, hull)


def diou_of_pairs(boxes, others):
    """DIoU of boxes `(…, 4)` and `(…, 4)` that broadcast."""
    boxes, others = as_boxes(boxes=boxes, others=others)
    iou, _ = _iou_and_union(boxes, others)
    return iou - _distance(boxes, others)


def ciou_of_pairs(boxes, others):
    """CIoU of boxes `(…, 4)` and `(…, 4)` that broadcast."""
    boxes, others = as_boxes(boxes=boxes, others=others)
    iou, _ = _iou_and_union(boxes, others)
    difference = ops.square(ops.subtract(_slope(boxes), _slope(others))) * (4 / math.pi**2)
    weight = ops.stop_gradient(ratio(difference, 1 - iou + difference))
    return iou - _distance(boxes, others) - weight * difference


def _iou_and_union(boxes, others):
    low = _larger(boxes[..., :2], others[..., :2])
    shared = ops.subtract(_smaller(boxes[..., 2:], others[..., 2:]), low)
    shared = ops.where(shared > 0, shared, 0.0)
    shared = shared[..., 0] * shared[..., 1]
    union = ops.subtract(added(_area(boxes), _area(others)), shared)
    return ratio(shared, union), union


def _smaller(x, y):
    """Minimum of which both have half the gradient where they are equal, on every backend."""
    other = ops.where(ops.less(y, x), y, added(x, y) / 2)
    return ops.where(ops.less(x, y), x, other)


def _larger(x, y):
    other = ops.where(ops.greater(y, x), y, added(x, y) / 2)
    return ops.where(ops.greater(x, y), x, other)


def _sides(boxes):
    # At zero with a gradient, by which a box without width can grow.
    sides = boxes[..., 2:] - boxes[..., :2]
    return ops.where(sides >= 0, sides, 0.0)


def _area(boxes):
    sides = _sides(boxes)
    return sides[..., 0] * sides[..., 1]


def _sides_around(boxes, others):
    (low, high), (other_low, other_high) = _corners(boxes), _corners(others)
    return ops.subtract(_larger(high, other_high), _smaller(low, other_low))


def _corners(boxes):
    """Low and high corner, in this order of a box of negative sides, too."""
    first, second = boxes[..., :2], boxes[..., 2:]
    ordered = second >= first
    return ops.where(ordered, first, second), ops.where(ordered, second, first)


def _distance(boxes, others):
    """Squared distance of the centers as a share of the squared diagonal of the box around."""
    apart = ops.subtract(_doubled_center(boxes), _doubled_center(others)) / 2
    diagonal = ops.sum(ops.square(_sides_around(boxes, others)), -1)
    return ratio(ops.sum(ops.square(apart), -1), diagonal)


def _doubled_center(boxes):
    return boxes[..., :2] + boxes[..., 2:]


def _slope(boxes):
    """Angle of the diagonal, `atan(w/h)`; that of a square where there are no sides."""
    sides = _sides(boxes)
    nothing = ops.sum(sides, -1, keepdims=True) <= 0
    sides = ops.where(nothing, 1.0, sides)
    return ops.arctan2(sides[..., 0], sides[..., 1])
