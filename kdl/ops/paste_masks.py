"""Masks of objects, predicted in a box of their own, brought into the image.

Both published rules are bilinear, so that a pixel is a sum over rows and columns of the mask whose
weights are products: two small matrices with the mask between them.
"""

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import ArrayLike, Tensor
from kdl.ops._shapes import shapes_match
from kdl.ops.boxes import as_boxes


def paste_masks(
    masks: ArrayLike, boxes: ArrayLike, size: tuple[int, int], rule: str = "torchvision"
) -> Tensor:
    """Soft masks of objects, resized into their boxes in an image (mask pasting).

    A pixel `p` of a row reads the mask, `m` cells wide, at the place `s` in cells, and the pixel's
    value is `Σ_c max(0, 1 − |s − c|)·mask[c]`; columns likewise.

    - `"torchvision"`: the mask gets a border of zeros, a cell wide, and its box grows by
      `(m + 2)/m` about its center; then the ends of the box are cut to integers, and are both
      pixels of it. `s = (p − x₁ + ½)·(m + 2)/(x₂ − x₁ + 1) − ³⁄₂`, at most a cell outside of the
      mask; pixels beyond `x₁` and `x₂` are 0. A box without a side is a pixel wide.
    - `"detectron2"`, as in mmdetection, too: `s = (p + ½ − x₁)·m/(x₂ − x₁) − ½`. Outside of its
      box a mask fades within half a cell, below one half of what it is at its edge. A box without
      area is empty.

    Boxes get no gradient. A mask is not cut at a threshold here: `paste_masks(…) >= 0.5` does it.

    Shapes: masks `(…, N, h, w)`, boxes `(…, N, 4)`, results `(…, N, *size)`, in the dtype of the
    masks, or float32 if that is no float; computed in float32 at least.

    Args:
        masks: Probabilities, or other numbers, of each object in its box. `h` and `w` must be
            known.
        boxes: `(x1, y1, x2, y2)`, in pixels of the image; parts outside of it are cut off.
        size: Height and width of the image.
        rule: `"torchvision"` (default) or `"detectron2"`: what the masks were trained for.

    Raises:
        ValueError: If shapes do not fit, `size` is not two positive integers, or `rule` is none of
            these.

    Source: torchvision, `models/detection/roi_heads.py`; Detectron2, `layers/mask_ops.py`.

    Example:
        >>> import numpy as np
        >>> mask, box = np.ones((1, 2, 2), "float32"), np.array([[1.0, 0.0, 3.0, 2.0]])
        >>> pasted = paste_masks(mask, box, (2, 5), "detectron2")
        >>> [float(value) for value in pasted[0, 0]]
        [0.0, 1.0, 1.0, 0.0, 0.0]
    """
    check_choice("rule", rule, tuple(_PLACES))
    height, width = _check_size(size)
    masks = ops.convert_to_tensor(masks)
    (boxes,) = as_boxes(boxes=boxes)
    _check_shapes(masks, boxes)
    boxes = ops.stop_gradient(boxes)
    rows, columns = (
        _weights(boxes[..., axis::2], pixels, masks.shape[-1 - axis], rule)
        for axis, pixels in ((1, height), (0, width))
    )
    given = keras.backend.standardize_dtype(masks.dtype)
    dtype = keras.backend.result_type(given, "float32")
    masks, rows, columns = (ops.cast(x, dtype) for x in (masks, rows, columns))
    pasted = ops.matmul(ops.matmul(ops.swapaxes(rows, -1, -2), masks), columns)
    return ops.cast(pasted, given) if keras.backend.is_float_dtype(given) else pasted


def _weights(edges, pixels, cells, rule):
    """How much of each cell of the masks each pixel of an axis gets, `(…, N, cells, pixels)`.

    Args:
        edges: First and last coordinate of each box along the axis, `(…, N, 2)`.
        pixels: Number of pixels of the image.
        cells: Number of cells of the masks.
        rule: As in `paste_masks`.
    """
    low, high = edges[..., :1], edges[..., 1:]
    place, counts = _PLACES[rule](low, high, ops.arange(pixels, dtype=edges.dtype), cells)
    cell = ops.expand_dims(ops.arange(cells, dtype=edges.dtype), -1)
    distance = ops.abs(ops.expand_dims(place, -2) - cell)
    counts = ops.expand_dims(counts, -2) & (distance < 1)  # false where the box is no number
    return ops.where(counts, 1 - distance, 0.0)


def _torchvision_places(low, high, pixels, cells):
    """Where pixels read a mask, in cells, and whether they do."""
    half, center = (high - low) * 0.5 * ((cells + 2) / cells), (high + low) * 0.5
    first, last = ops.trunc(center - half), ops.trunc(center + half)
    length = ops.maximum(last - first + 1, 1.0)
    place = (pixels - first + 0.5) * ((cells + 2) / length) - 0.5
    return ops.clip(place, 0.0, cells + 1.0) - 1, (pixels >= first) & (pixels <= last)


def _detectron2_places(low, high, pixels, cells):
    side = high - low
    place = (pixels + 0.5 - low) / ops.where(side > 0, side, 1.0) * cells - 0.5
    return place, side > 0


_PLACES = {"torchvision": _torchvision_places, "detectron2": _detectron2_places}


def _check_size(size):
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ValueError(f"size must be the height and width of the image; received {size!r}.")
    return [check_integer("size", side) for side in size]


def _check_shapes(masks, boxes):
    shape = tuple(masks.shape)
    if len(shape) < 3 or not shapes_match(shape[:-2], boxes.shape[:-1]):
        raise ValueError(
            f"Expected masks (…, N, h, w) and boxes (…, N, 4); received shapes {shape} and "
            f"{tuple(boxes.shape)}. Take of each object the mask of its class first."
        )
    if not all(shape[-2:]):
        raise ValueError(f"Masks must have a known height and width; received shape {shape}.")
