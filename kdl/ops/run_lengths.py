"""Run lengths of masks, as COCO's files hold them.

A mask is read column after column, and its code is how many zeros come first, then ones, zeros and
so on. The compressed form is one text: of each count from the fourth on the difference to the one
two before, in groups of five bits, the lowest first. A character is a group, plus 32 if another
follows, plus 48; the sign of a number is the highest bit of its last group.
"""

import operator

import numpy as np

from kdl._typing import ArrayLike
from kdl.ops.masks import as_masks

# Pixels of the largest mask that is decoded: a few bytes may ask for any number.
_MOST_PIXELS = 1 << 28
_BITS, _SIGN, _MORE, _FIRST = 5, 16, 32, 48
# Groups of the longest number: what is below 2³¹ in size has no more.
_MOST_GROUPS = 7


def encode_rle(mask: ArrayLike, compress: bool = True) -> dict:
    """Run lengths of a mask, as in COCO's files and in pycocotools (run-length encoding, RLE).

    Args:
        mask: Array `(height, width)` of 0 and 1, or booleans.
        compress: If the counts are COCO's compressed text; else a list of numbers. Defaults to
            True.

    Returns:
        Dict of `"size"`, `[height, width]`, and `"counts"`: runs of zeros and ones in turn, zeros
        first, down the columns. JSON can hold it.

    Raises:
        ValueError: If the mask is of another rank, or holds other numbers.

    Source: cocodataset/cocoapi, `common/maskApi.c`.

    Example:
        >>> encode_rle(np.eye(3), compress=False)
        {'size': [3, 3], 'counts': [0, 1, 3, 1, 3, 1]}
        >>> encode_rle(np.eye(3))
        {'size': [3, 3], 'counts': '013000'}
    """
    mask = as_masks("mask", mask, 2)
    counts = mask_counts(mask)
    return {
        "size": list(mask.shape),
        "counts": _compressed(counts) if compress else counts.tolist(),
    }


def decode_rle(rle: dict) -> np.ndarray:
    """The mask of COCO's run lengths, compressed or not.

    Args:
        rle: Dict of `"size"`, `[height, width]`, and `"counts"`: a list of numbers, or the
            compressed text, `str` or `bytes`, as of `encode_rle`.

    Returns:
        Boolean array `(height, width)`.

    Raises:
        ValueError: If a key is missing, the text or a count is none, the counts do not sum up to
            the size, or that is more than 2²⁸ pixels.

    Source: cocodataset/cocoapi, `common/maskApi.c`.

    Example:
        >>> decode_rle({"size": [2, 3], "counts": [1, 4, 1]}).astype(int).tolist()
        [[0, 1, 1], [1, 1, 0]]
    """
    (height, width), counts = read_rle(rle)
    ones = np.arange(len(counts)) % 2 == 1
    return np.repeat(ones, counts).reshape(width, height).T


def mask_counts(mask):
    """Runs of zeros and ones in turn, of a boolean array, down the columns."""
    pixels = mask.ravel(order="F")
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts = np.r_[0, edges] if pixels[:1].any() else edges  # the first run is one of zeros
    return np.diff(np.r_[0, starts, len(pixels)])


def read_rle(rle):
    """Size `(height, width)` and counts, an int64 array, of run lengths, checked but not decoded.

    Raises:
        ValueError: As `decode_rle`.
    """
    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        received = sorted(map(str, rle)) if isinstance(rle, dict) else type(rle).__name__
        raise ValueError(
            f"Run lengths must be a dict of 'size' and 'counts'; received {received}. Polygons go "
            f"through kdl.ops.polygons_to_mask."
        )
    size = read_size(rle["size"])
    counts = rle["counts"]
    counts = _decompressed(counts) if isinstance(counts, str | bytes) else _as_counts(counts)
    pixels = size[0] * size[1]
    odd = counts[(counts < 0) | (counts > pixels)]
    if odd.size or counts.sum() != pixels:
        received = f"a count of {odd[0]}" if odd.size else f"a sum of {counts.sum()}"
        raise ValueError(
            f"Counts must be from 0 on, and sum up to the {pixels} pixels of the size "
            f"{list(size)}; received {received}. The size is [height, width]."
        )
    return size, counts


def read_size(size):
    """Height and width of a mask as integers, of so many pixels as memory is meant to hold."""
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError) as error:
        raise ValueError(f"size must be [height, width]; received {size!r}.") from error
    if min(height, width) < 0 or height * width > _MOST_PIXELS:
        raise ValueError(
            f"size must be [height, width], from 0 on and {_MOST_PIXELS} pixels at most; received "
            f"{size!r}."
        )
    return height, width


def _as_counts(counts):
    try:
        array = np.asarray(counts)
    except (ValueError, OverflowError):
        array = np.empty(())
    if array.size == 0:
        array = np.zeros(array.shape, int)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"counts must be a list of integers, or COCO's compressed text; received "
            f"{_beginning(counts)}."
        )
    return array.astype("int64")


def _compressed(counts):
    """COCO's text of counts."""
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    bits = _BITS * np.arange(1, _MOST_GROUPS + 1)
    # A number has as many groups as hold it with its sign.
    fits = (numbers[:, None] >= -(1 << bits - 1)) & (numbers[:, None] < 1 << bits - 1)
    last = np.argmax(fits, 1)
    group = np.arange(last.max(initial=0) + 1)
    values = numbers[:, None] >> _BITS * group & (1 << _BITS) - 1
    values += _FIRST + _MORE * (group < last[:, None])
    return values[group <= last[:, None]].astype("uint8").tobytes().decode("ascii")


def _decompressed(text):
    """The counts of COCO's text."""
    code = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    values = np.frombuffer(code, "uint8").astype("int64") - _FIRST
    is_last = values & _MORE == 0
    if not len(values):
        return values
    if values.min() < 0 or values.max() >= 2 * _MORE or not is_last[-1]:
        raise ValueError(
            f"Compressed counts must be characters from '0' to 'o', and end with a number; "
            f"received {_beginning(text)}. The text may be cut off."
        )
    ends = np.flatnonzero(is_last)
    starts = np.r_[0, ends[:-1] + 1]
    lengths = ends - starts + 1
    if lengths.max() > _MOST_GROUPS:
        raise ValueError(
            f"Compressed counts must be below 2³¹ in size; received one of {lengths.max()} "
            f"characters in {_beginning(text)}."
        )
    group = np.arange(len(values)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((values & (1 << _BITS) - 1) << _BITS * group, starts)
    numbers -= np.where(values[ends] & _SIGN, 1 << _BITS * lengths, 0)
    # Each count but the first three is told by its difference to the one two before.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _beginning(value):
    text = repr(value[:20] if isinstance(value, str | bytes | list | tuple) else value)
    return text if len(text) <= 80 else f"{text[:80]}…"
