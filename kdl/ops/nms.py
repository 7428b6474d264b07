"""Non-maximum suppression: of boxes that overlap, the one with the highest score.

The greedy rule takes boxes by falling score and drops each that overlaps a taken one. Here a block
of boxes is settled at a time, against itself and against all after it, so that the number of steps
is that of blocks; shapes are static. Blocks end when enough boxes are taken.
"""

import math

from keras import ops

from kdl._checks import check_integer
from kdl._typing import ArrayLike, Tensor
from kdl.ops._shapes import shapes_match
from kdl.ops.boxes import as_boxes, box_iou

_BLOCK = 128


def nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    iou_threshold: float = 0.5,
    score_threshold: float | None = None,
    max_detections: int = 100,
) -> Tensor:
    """Greedy non-maximum suppression (NMS), whatever the classes of the boxes.

    Boxes are taken by falling score, equal ones in their order; a box whose IoU with a taken one is
    above the threshold is dropped. Scores that are NaN or −∞ are no boxes, as of padded rows.

    Args:
        boxes: Tensor `(…, N, 4)`.
        scores: Tensor `(…, N)`.
        iou_threshold: Overlap from which on a box is dropped, itself excluded. Defaults to 0.5.
        score_threshold: Boxes with this score or less are dropped before. Defaults to None, none.
        max_detections: Boxes taken at most. Defaults to 100.

    Returns:
        int32 tensor `(…, max_detections)`: places of the boxes taken, by falling score, then −1.

    Raises:
        ValueError: If shapes do not fit, a threshold is NaN, or `max_detections` is no positive
            integer.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[0.0, 0, 4, 4], [1, 0, 5, 4], [6, 6, 8, 8]])
        >>> [int(place) for place in nms(boxes, np.array([0.6, 0.9, 0.7]), max_detections=3)]
        [1, 2, -1]
    """
    return _nms(boxes, scores, None, iou_threshold, score_threshold, max_detections)


def batched_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    classes: ArrayLike,
    iou_threshold: float = 0.5,
    score_threshold: float | None = None,
    max_detections: int = 100,
) -> Tensor:
    """Non-maximum suppression (NMS) in each class, or level of a pyramid, by itself.

    As `kdl.ops.nms`, but only boxes of one class drop one another; `max_detections` counts the
    boxes of all classes.

    Args:
        boxes: Tensor `(…, N, 4)`.
        scores: Tensor `(…, N)`.
        classes: Integers `(…, N)`.
        iou_threshold: As in `nms`.
        score_threshold: As in `nms`.
        max_detections: As in `nms`.

    Returns:
        int32 tensor `(…, max_detections)`: places of the boxes taken, by falling score, then −1.

    Raises:
        ValueError: As `nms`.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[0.0, 0, 4, 4], [1, 0, 5, 4], [1, 0, 4, 4]])
        >>> places = batched_nms(boxes, np.array([0.6, 0.9, 0.7]), np.array([0, 1, 1]))
        >>> [int(place) for place in places[:3]]
        [1, 0, -1]
    """
    return _nms(boxes, scores, classes, iou_threshold, score_threshold, max_detections)


def _nms(boxes, scores, classes, iou_threshold, score_threshold, max_detections):
    check_iou_threshold(iou_threshold)
    check_integer("max_detections", max_detections)
    shape, boxes, scores, classes = as_rows(boxes, scores, classes, score_threshold)
    count = boxes.shape[1]
    order = ops.argsort(-scores, axis=1)
    sizes = math.ceil(count / _BLOCK), min(_BLOCK, count)
    blank = sizes[0] * sizes[1] - count
    pads = ((0, 0), (0, blank))
    order = ops.pad(ops.cast(order, "int32"), pads)
    alive = ops.pad(ops.take_along_axis(scores, order[:, :count], 1) > -math.inf, pads)
    boxes = ops.take_along_axis(boxes, ops.expand_dims(order, -1), 1)
    classes = None if classes is None else ops.take_along_axis(classes, order, 1)
    alive = _settle(boxes, classes, alive, sizes, iou_threshold, max_detections)
    places = _first_places(alive, order, max_detections)
    return ops.reshape(places, (*shape, max_detections))


def _settle(boxes, classes, alive, sizes, threshold, most):
    """Greedy suppression of boxes in order of their scores, a block after the other.

    Args:
        boxes: `(batch, N, 4)`.
        classes: `(batch, N)`, or None.
        alive: `(batch, N)`, whether there is such a box.
        sizes: Number of blocks, and boxes in each: their product is N.
        threshold: Of the IoU.
        most: The number of boxes that is enough.

    Returns:
        `alive`, without the boxes that are dropped; correct for the first `most` of them.
    """
    places = ops.arange(boxes.shape[1], dtype="int32")
    blocks, own_places = ops.reshape(boxes, (-1, *sizes, 4)), ops.reshape(places, sizes)

    def unsettled(number, alive):
        settled = ops.sum(ops.cast(alive & (places < number * sizes[1]), "int32"), 1)
        return (number < sizes[0]) & ops.any(settled < most)

    def settle(number, alive):
        overlaps = box_iou(ops.take(blocks, number, 1), boxes) > threshold
        later = places > ops.expand_dims(ops.take(own_places, number, 0), -1)
        overlaps = overlaps & later
        if classes is not None:
            own = ops.take(ops.reshape(classes, (-1, *sizes)), number, 1)
            overlaps = overlaps & (ops.expand_dims(own, -1) == ops.expand_dims(classes, 1))
        within = ops.take(ops.reshape(overlaps, (-1, sizes[1], *sizes)), number, 2)
        taken = _fixed_point(within, ops.take(ops.reshape(alive, (-1, *sizes)), number, 1))
        return number + 1, alive & ~_any_of(overlaps, taken)

    first = ops.zeros((), "int32")
    return ops.while_loop(unsettled, settle, (first, alive))[1]


def _fixed_point(overlaps, alive):
    """Boxes of a block that the greedy rule takes.

    A box is taken if none before it is taken that overlaps it. Repeated from any guess, this is
    right for one more box at least each time, and most often for all after a few times.
    """

    def changes(taken, before):
        return ops.any(taken != before)

    def again(taken, before):
        return alive & ~_any_of(overlaps, taken), taken

    return ops.while_loop(changes, again, again(alive, alive))[0]


def _any_of(overlaps, taken):
    """Whether any of the boxes taken overlaps a box."""
    return ops.any(overlaps & ops.expand_dims(taken, -1), axis=1)


def _first_places(alive, order, most):
    """Places of the first boxes that are left, then −1."""
    count = order.shape[1]
    key = ops.where(alive, ops.arange(count, dtype="int32"), count)
    first = -ops.top_k(-key, min(most, count))[0]
    places = ops.take_along_axis(order, ops.minimum(first, count - 1), 1)
    places = ops.where(first < count, places, -1)
    return ops.pad(places, ((0, 0), (0, most - places.shape[1])), constant_values=-1)


def check_iou_threshold(threshold):
    """Raise ValueError if a threshold of the IoU is no number from 0 to 1."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"iou_threshold must be from 0 to 1; received {threshold!r}.")


def as_rows(boxes, scores, classes=None, score_threshold=None):
    """Leading axes as one, and −∞ for scores that are none.

    Args:
        boxes: Tensor `(…, N, 4)`.
        scores: Tensor `(…, N)`.
        classes: Integers `(…, N)`, or None.
        score_threshold: Scores up to this are none; None for no threshold.

    Returns:
        The leading axes; boxes `(batch, N, 4)`, scores `(batch, N)` and classes, or None, without
        gradients.

    Raises:
        ValueError: If shapes do not fit, or the threshold is NaN.
    """
    if score_threshold is not None and math.isnan(score_threshold):
        raise ValueError("score_threshold must be a number or None; received NaN.")
    (boxes,) = as_boxes(boxes=boxes)
    named = {"scores": scores} if classes is None else {"scores": scores, "classes": classes}
    tensors = {name: ops.convert_to_tensor(x) for name, x in named.items()}
    for name, x in tensors.items():
        if not shapes_match(x.shape, boxes.shape[:-1]) or len(x.shape) < 1:
            raise ValueError(
                f"Expected boxes (…, N, 4) and {name} (…, N); received shapes "
                f"{tuple(boxes.shape)} and {tuple(x.shape)}."
            )
    if boxes.shape[-2] is None:
        raise ValueError(
            "The number of boxes must be known; received None. Pad them to a fixed number, with "
            "scores of −∞."
        )
    leading = ops.shape(boxes)[:-2]
    if boxes.shape[-2] == 0:  # one row that is no box, so that each operation has some
        boxes = ops.zeros((*leading, 1, 4), boxes.dtype)
        tensors = {name: ops.full((*leading, 1), -math.inf) for name in tensors}
    boxes = ops.stop_gradient(ops.reshape(boxes, (-1, *boxes.shape[-2:])))
    rows = {name: ops.reshape(x, (-1, boxes.shape[1])) for name, x in tensors.items()}
    scores = ops.stop_gradient(ops.cast(rows["scores"], "float32"))
    least = -math.inf if score_threshold is None else score_threshold
    scores = ops.where(scores > least, scores, -math.inf)
    classes = None if classes is None else ops.cast(rows["classes"], "int32")
    return leading, boxes, scores, classes
