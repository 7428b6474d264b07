"""Areas, overlaps and coding of boxes.

A box is `(x1, y1, x2, y2)` in continuous coordinates: its area is `(x2 − x1)·(y2 − y1)`, without
the `+1` of older code. A side that is negative counts as 0, so that such a box covers nothing.
All is computed in float32 at least, as areas soon pass the largest float16. To convert other
formats, `keras.utils.bounding_boxes.convert_format` serves.
"""

import math
from collections.abc import Sequence

import keras
from keras import ops

from kdl._typing import ArrayLike, Tensor

_SMALLEST_SIDE = 1e-7
_LARGEST_GROWTH = math.log(1000 / 16)


def box_area(boxes: ArrayLike) -> Tensor:
    """Area of each box.

    Args:
        boxes: Tensor `(…, 4)`.

    Returns:
        Tensor `(…)`.

    Raises:
        ValueError: If the last axis is not 4.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[0, 0, 4, 2], [3, 0, 1, 2]], "float32")
        >>> [float(area) for area in box_area(boxes)]  # the second side is negative
        [8.0, 0.0]
    """
    (boxes,) = as_boxes(boxes=boxes)
    return _product_of_sides(boxes[..., 2:] - boxes[..., :2])


def box_intersection(boxes: ArrayLike, others: ArrayLike) -> Tensor:
    """Area that each of `boxes` shares with each of `others`.

    Args:
        boxes: Tensor `(…, N, 4)`.
        others: Tensor `(…, M, 4)`; the leading axes broadcast.

    Returns:
        Tensor `(…, N, M)`.

    Raises:
        ValueError: If the last axis is not 4, or the rank is below 2.
    """
    boxes, others = pairs_of_boxes(boxes, others)
    width, height = (_shared_side(boxes, others, axis) for axis in (0, 1))
    return width * height


def box_iou(boxes: ArrayLike, others: ArrayLike) -> Tensor:
    """Intersection over union of each of `boxes` with each of `others`.

    `IoU(A, B) = area(A ∩ B) / area(A ∪ B)`, and 0 where the union is empty.

    Args:
        boxes: Tensor `(…, N, 4)`.
        others: Tensor `(…, M, 4)`; the leading axes broadcast.

    Returns:
        Tensor `(…, N, M)`, from 0 to 1.

    Raises:
        ValueError: If the last axis is not 4, or the rank is below 2.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[0, 0, 4, 4]], "float32")
        >>> others = np.array([[1, 0, 5, 4], [6, 6, 8, 8]], "float32")
        >>> [round(float(v), 4) for v in box_iou(boxes, others)[0]]
        [0.6, 0.0]
    """
    boxes, others = as_boxes(boxes=boxes, others=others)
    shared = box_intersection(boxes, others)
    areas = added(ops.expand_dims(box_area(boxes), -1), ops.expand_dims(box_area(others), -2))
    return ratio(shared, areas - shared)


def box_iog(boxes: ArrayLike, others: ArrayLike) -> Tensor:
    """Share of each of `others` that each of `boxes` covers.

    `IoG(B, G) = area(B ∩ G) / area(G)`, and 0 where `G` has no area. With the two arguments in the
    other order and the last two axes of the result swapped, it is the intersection over the area
    of the first, `IoA`.

    Args:
        boxes: Tensor `(…, N, 4)`.
        others: Tensor `(…, M, 4)`; the leading axes broadcast.

    Returns:
        Tensor `(…, N, M)`, from 0 to 1.

    Raises:
        ValueError: If the last axis is not 4, or the rank is below 2.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[0, 0, 10, 10]], "float32")
        >>> float(box_iog(boxes, np.array([[5, 0, 15, 10]], "float32"))[0, 0])
        0.5
    """
    boxes, others = as_boxes(boxes=boxes, others=others)
    return ratio(box_intersection(boxes, others), ops.expand_dims(box_area(others), -2))


def encode_boxes(
    boxes: ArrayLike, anchors: ArrayLike, variances: Sequence[float] = (0.1, 0.1, 0.2, 0.2)
) -> Tensor:
    """Boxes as offsets from anchors, what a box regression learns.

    `t = ((cx − ax)/aw/v₁, (cy − ay)/ah/v₂, ln(w/aw)/v₃, ln(h/ah)/v₄)`, with the centers and sides
    of the box and of its anchor. Sides below 1e-7 count as 1e-7, so that empty boxes give numbers.

    Args:
        boxes: Tensor `(…, N, 4)`.
        anchors: Tensor `(…, N, 4)`, one for each box; the leading axes broadcast.
        variances: The four divisors `v`, those of SSD by default; weights `1 / v` in other code.

    Returns:
        Tensor `(…, N, 4)`.

    Raises:
        ValueError: If the last axis is not 4, or `variances` are not four positive numbers.

    Source: SSD (arXiv 1512.02325), section 2.2; the variances are those of its code.

    Example:
        >>> import numpy as np
        >>> box, anchor = np.array([[0.2, 0.3, 0.6, 0.7]]), np.array([[0.3, 0.25, 0.6, 0.75]])
        >>> [round(float(v), 4) for v in encode_boxes(box, anchor)[0]]
        [-1.6667, 0.0, 1.4384, -1.1157]
    """
    check_variances(variances)
    boxes, anchors = as_boxes(boxes=boxes, anchors=anchors)
    centers, sides = _centers_and_sides(boxes)
    anchor_centers, anchor_sides = _centers_and_sides(anchors)
    moves = (centers - anchor_centers) / anchor_sides
    offsets = ops.concatenate([moves, ops.log(sides / anchor_sides)], -1)
    return offsets / ops.convert_to_tensor(variances, offsets.dtype)


def decode_boxes(
    offsets: ArrayLike, anchors: ArrayLike, variances: Sequence[float] = (0.1, 0.1, 0.2, 0.2)
) -> Tensor:
    """Boxes from the offsets of `encode_boxes`.

    A side grows by at most `1000/16` times its anchor's, as is usual, so that a wild prediction
    stays finite.

    Args:
        offsets: Tensor `(…, N, 4)`.
        anchors: Tensor `(…, N, 4)`, one for each offset; the leading axes broadcast.
        variances: The four numbers given to `encode_boxes`.

    Returns:
        Tensor `(…, N, 4)`.

    Raises:
        ValueError: If the last axis is not 4, or `variances` are not four positive numbers.

    Example:
        >>> import numpy as np
        >>> anchor = np.array([[0.0, 0.0, 4.0, 4.0]])
        >>> [float(v) for v in decode_boxes(np.array([[5.0, 0.0, 0.0, 0.0]]), anchor)[0]]
        [2.0, 0.0, 6.0, 4.0]
    """
    check_variances(variances)
    offsets, anchors = as_boxes(offsets=offsets, anchors=anchors)
    offsets = offsets * ops.convert_to_tensor(variances, offsets.dtype)
    anchor_centers, anchor_sides = _centers_and_sides(anchors)
    # In this order also where offsets are symbolic and anchors are not, which JAX needs.
    centers = offsets[..., :2] * anchor_sides + anchor_centers
    halves = ops.exp(ops.minimum(offsets[..., 2:], _LARGEST_GROWTH)) * anchor_sides / 2
    return ops.concatenate([centers - halves, centers + halves], -1)


def clip_boxes(boxes: ArrayLike, size: tuple[int, int]) -> Tensor:
    """Boxes cut off at the borders of an image.

    Args:
        boxes: Tensor `(…, 4)`.
        size: Height and width of the image.

    Returns:
        Tensor `(…, 4)`; a box outside of the image has an area of 0.

    Raises:
        ValueError: If the last axis is not 4.

    Example:
        >>> import numpy as np
        >>> [float(v) for v in clip_boxes(np.array([[-2.0, 1.0, 9.0, 4.0]]), size=(3, 8))[0]]
        [0.0, 1.0, 8.0, 3.0]
    """
    (boxes,) = as_boxes(boxes=boxes)
    height, width = size
    most = ops.convert_to_tensor([width, height, width, height], boxes.dtype)
    return ops.minimum(ops.maximum(boxes, 0.0), most)


def check_variances(variances: Sequence[float], name: str = "variances") -> None:
    """Raise ValueError if `variances` are not four positive numbers."""
    if len(variances) != 4 or not all(value > 0 for value in variances):
        raise ValueError(f"{name} must be four positive numbers; received {variances!r}.")


def as_boxes(**named):
    """The tensors in one dtype, float32 or, if one of them is, float64."""
    tensors = [ops.convert_to_tensor(boxes) for boxes in named.values()]
    for name, boxes in zip(named, tensors, strict=True):
        if not len(boxes.shape) or boxes.shape[-1] != 4:
            raise ValueError(
                f"{name} must have four numbers in the last axis; received shape "
                f"{tuple(boxes.shape)}."
            )
    dtypes = {keras.backend.standardize_dtype(boxes.dtype) for boxes in tensors}
    dtype = "float64" if "float64" in dtypes else "float32"
    return [ops.cast(boxes, dtype) for boxes in tensors]


def pairs_of_boxes(boxes, others):
    """The two sets with an axis each for the other."""
    boxes, others = as_boxes(boxes=boxes, others=others)
    if min(len(boxes.shape), len(others.shape)) < 2:
        raise ValueError(
            f"Expected boxes (…, N, 4) and others (…, M, 4); received shapes "
            f"{tuple(boxes.shape)} and {tuple(others.shape)}."
        )
    return ops.expand_dims(boxes, -2), ops.expand_dims(others, -3)


def _centers_and_sides(boxes):
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, ops.maximum(high - low, _SMALLEST_SIDE)


def _shared_side(boxes, others, axis):
    """Length of what two boxes share along an axis; one at a time, as pairs are many."""
    low = ops.maximum(boxes[..., axis], others[..., axis])
    high = ops.minimum(boxes[..., axis + 2], others[..., axis + 2])
    return ops.maximum(high - low, 0.0)


def _product_of_sides(sides):
    sides = ops.maximum(sides, 0.0)
    return sides[..., 0] * sides[..., 1]


def ratio(part, whole):
    """Part of the whole; 0 of nothing, with gradients that are numbers there too."""
    positive = whole > 0
    return ops.where(positive, part / ops.where(positive, whole, 1.0), 0.0)


def added(x, y):
    """Sum of tensors that broadcast, symbolic or not.

    Of some shapes Keras on TensorFlow takes the second for a bias, and adds it along another axis.
    """
    return ops.subtract(x, ops.negative(y))
