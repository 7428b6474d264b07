"""Soft non-maximum suppression."""

import math

from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import ArrayLike, Tensor
from kdl.ops.boxes import box_iou
from kdl.ops.nms import as_rows, check_iou_threshold


def soft_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    method: str = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    score_threshold: float | None = 0.001,
    max_detections: int = 100,
) -> tuple[Tensor, Tensor]:
    """Soft non-maximum suppression (soft-NMS): overlapping boxes lose score, and are not dropped.

    The box with the highest score is taken, again and again, and the scores of the others fall by
    their overlap with it: `s·(1 − IoU)` where `IoU ≥ iou_threshold` (linear), or `s·exp(−IoU²/σ)`
    everywhere (Gaussian).

    Args:
        boxes: Tensor `(…, N, 4)`.
        scores: Tensor `(…, N)`; NaN or −∞ are no boxes, as of padded rows.
        method: `"linear"` (default) or `"gaussian"`.
        iou_threshold: Overlap from which on scores fall, linear. Defaults to 0.3.
        sigma: `σ` of the Gaussian. Defaults to 0.5.
        score_threshold: Boxes whose score falls below are dropped; None for none. Defaults to
            0.001.
        max_detections: Boxes taken at most. Defaults to 100.

    Returns:
        Places of the boxes taken, int32 `(…, max_detections)`, in the order in which they are, then
        −1; and their scores, float32 `(…, max_detections)`, then −1.

    Raises:
        ValueError: If shapes do not fit, or an argument is none of these.

    Source: Bodla et al., Soft-NMS (arXiv 1704.04503), equations 2 and 3.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[0.0, 0, 4, 4], [1, 0, 5, 4]])
        >>> places, scores = soft_nms(boxes, np.array([0.9, 0.8]), max_detections=2)
        >>> [int(place) for place in places], [round(float(score), 2) for score in scores]
        ([0, 1], [0.9, 0.32])
    """
    check_choice("method", method, ("linear", "gaussian"))
    check_iou_threshold(iou_threshold)
    check_integer("max_detections", max_detections)
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite; received {sigma!r}.")
    shape, boxes, scores, _ = as_rows(boxes, scores)
    least = -math.inf if score_threshold is None else score_threshold
    if math.isnan(least):
        raise ValueError("score_threshold must be a number or None; received NaN.")

    def take(step, state):
        scores, places, values = state
        best = ops.cast(ops.argmax(scores, axis=1), "int32")
        highest = ops.max(scores, axis=1)
        counts = (highest >= least) & (highest > -math.inf)
        iou = ops.cast(_iou_with(boxes, best), scores.dtype)
        factor = ops.exp(-ops.square(iou) / sigma)
        if method == "linear":
            factor = ops.where(iou >= iou_threshold, 1 - iou, 1.0)
        is_best = ops.arange(boxes.shape[1], dtype="int32") == ops.expand_dims(best, -1)
        scores = ops.where(is_best | (scores == -math.inf), -math.inf, scores * factor)
        now = ops.arange(max_detections, dtype="int32") == ops.cast(step, "int32")
        places = ops.where(now & ops.expand_dims(counts, -1), ops.expand_dims(best, -1), places)
        values = ops.where(now & ops.expand_dims(counts, -1), ops.expand_dims(highest, -1), values)
        return scores, places, values

    none = ops.zeros_like(scores[:, :1]) + ops.full((1, max_detections), -1.0)
    state = (scores, ops.cast(none, "int32"), none)
    _, places, values = ops.fori_loop(0, max_detections, take, state)
    return tuple(ops.reshape(x, (*shape, max_detections)) for x in (places, values))


def _iou_with(boxes, best):
    """IoU of all boxes with one of them."""
    one = ops.take_along_axis(boxes, ops.expand_dims(best, (-2, -1)), 1)
    return box_iou(one, boxes)[:, 0]
