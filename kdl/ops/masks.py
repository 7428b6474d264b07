"""Boxes and overlaps of masks, in NumPy."""

import math

import keras
import numpy as np

from kdl._typing import ArrayLike

# Numbers that are held as floats at a time.
_AT_A_TIME = 1 << 24


def mask_to_boxes(masks: ArrayLike) -> np.ndarray:
    """Smallest box around each mask.

    A pixel in column `x` reaches from `x` to `x + 1`, so that the box of one pixel has side 1.

    Args:
        masks: Array `(…, height, width)` of 0 and 1, or booleans.

    Returns:
        float32 array `(…, 4)` of `(x1, y1, x2, y2)`; zeros for a mask without a pixel.

    Raises:
        ValueError: If the rank is below 2, or there are other numbers.

    Example:
        >>> mask_to_boxes([[0, 1, 1, 0], [0, 1, 0, 0]]).tolist()
        [1.0, 0.0, 3.0, 2.0]
    """
    masks = as_masks("masks", masks)
    (x1, x2), (y1, y2) = (_ends(masks.any(axis)) for axis in (-2, -1))
    return np.stack([x1, y1, x2, y2], -1).astype("float32")


def mask_iou(masks: ArrayLike, others: ArrayLike, crowd: ArrayLike | None = None) -> np.ndarray:
    """Intersection over union of each of `masks` with each of `others`.

    `IoU(A, B) = |A ∩ B| / |A ∪ B|`, and 0 where nothing is shared. Of a crowd `B`, which stands for
    several objects, it is the share of `A` that lies in it, `|A ∩ B| / |A|`, as COCO has it.

    Args:
        masks: Array `(N, height, width)` of 0 and 1, or booleans: the detections, if crowds matter.
        others: Array `(M, height, width)`.
        crowd: Booleans `(M,)`, which of `others` are crowds. None (default) for none.

    Returns:
        float64 array `(N, M)`, from 0 to 1.

    Raises:
        ValueError: If shapes do not fit, or masks hold other numbers.

    Source: cocodataset/cocoapi, `PythonAPI/pycocotools/mask.py`.

    Example:
        >>> mask, other = [[[1, 1, 0, 0]]], [[[0, 1, 1, 1]]]
        >>> float(mask_iou(mask, other)[0, 0]), float(mask_iou(mask, other, [True])[0, 0])
        (0.25, 0.5)
    """
    masks, others = as_masks("masks", masks, 3), as_masks("others", others, 3)
    if masks.shape[1:] != others.shape[1:]:
        raise ValueError(
            f"masks and others must be of one height and width; received shapes {masks.shape} "
            f"and {others.shape}."
        )
    crowd = np.zeros(len(others), bool) if crowd is None else np.asarray(crowd, bool)
    if crowd.shape != (len(others),):
        raise ValueError(
            f"crowd must be a truth value for each of {len(others)} others; received shape "
            f"{crowd.shape}."
        )
    rows = (x.reshape(len(x), math.prod(x.shape[1:])) for x in (masks, others))
    shared = _shared(*rows)
    area, other_area = (x.sum((1, 2), dtype="float64") for x in (masks, others))
    whole = area[:, None] + np.where(crowd, 0, other_area - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)


def as_masks(name, masks, rank=None):
    """Masks as a boolean array.

    Args:
        name: Name of the argument, for the message.
        masks: Array or tensor of 0 and 1.
        rank: Number of axes, or None for two or more.

    Raises:
        ValueError: If the rank is another, or there are other numbers.
    """
    array = masks if isinstance(masks, np.ndarray) else keras.ops.convert_to_numpy(masks)
    if array.ndim < 2 or rank not in (None, array.ndim):
        axes = {2: "(height, width)", 3: "(N, height, width)", None: "(…, height, width)"}[rank]
        raise ValueError(f"{name} must have the shape {axes}; received {array.shape}.")
    if array.dtype == bool:
        return array
    truth = array.astype(bool)
    if (array != truth).any():
        raise ValueError(
            f"{name} must hold 0 and 1; received {array[array != truth][0]}. Cut scores at a "
            f"threshold, as masks >= 0.5, and bytes by masks > 0."
        )
    return truth


def _ends(lines):
    """First and last place, plus 1, of what is true along the last axis; zeros if nothing is."""
    size = lines.shape[-1]
    if not size:
        return np.zeros((2, *lines.shape[:-1]))
    some = lines.any(-1)
    return some * lines.argmax(-1), some * (size - lines[..., ::-1].argmax(-1))


def _shared(masks, others):
    """Number of pixels that each two masks share; exact, as sums of float32 stay below 2²⁴."""
    shared = np.zeros((len(masks), len(others)))
    step = max(_AT_A_TIME // max(len(masks) + len(others), 1), 1)
    for start in range(0, masks.shape[1], step):
        part = slice(start, start + step)
        shared += masks[:, part].astype("float32") @ others[:, part].astype("float32").T
    return shared
