"""Polygons as masks, by COCO's rule."""

from collections.abc import Sequence

import numpy as np

from kdl.ops.run_lengths import read_size

# Steps of the fine grid that a pixel has along each side.
_SCALE = 5
# Coordinates up to this are exact on the fine grid.
_LARGEST = 1e8
_PAIRS_AT_A_TIME = 1 << 18


def polygons_to_mask(polygons: Sequence, size: Sequence[int]) -> np.ndarray:
    """Mask of an object that polygons outline, as pycocotools draws COCO's annotations.

    Corners are rounded to a grid five times as fine as the pixels, and joined by lines of its
    points, one for each step along the longer side of a line. Where a line passes the middle of a
    column of pixels, all pixels from there down change between outside and inside, from the first
    on whose own middle is not above the upper of the two points. Several polygons, such as of an
    object that is parted by another, are joined: a hole can't be told.

    Args:
        polygons: List of polygons, each a flat list `[x1, y1, x2, y2, …]` of three corners or more,
            in pixels, 0 at the left and upper edge. Parts outside of the image are cut off.
        size: Height and width of the image.

    Returns:
        Boolean array `(height, width)`.

    Raises:
        ValueError: If a polygon is no such list, a coordinate is not finite or above 10⁸ in size,
            or the image has more than 2²⁸ pixels.

    Source: cocodataset/cocoapi, `common/maskApi.c`.

    Example:
        >>> mask = polygons_to_mask([[1, 0, 4, 0, 4, 2, 1, 2]], (3, 5))
        >>> mask.astype(int).tolist()
        [[0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    height, width = read_size(size)
    if isinstance(polygons, dict | str | bytes) or not np.iterable(polygons):
        raise ValueError(
            f"polygons must be a list of flat lists of numbers; received "
            f"{type(polygons).__name__}. Run lengths go through kdl.ops.decode_rle."
        )
    mask = np.zeros((width, height), bool)
    for polygon in polygons:
        mask |= _filled(_corners(polygon), height, width)
    return mask.T


def _corners(polygon):
    """Corners on the fine grid, `(N, 2)`; as C cuts floats, towards zero."""
    try:
        flat = np.asarray(polygon, "float64")
    except (TypeError, ValueError):
        flat = np.empty(())
    if flat.ndim != 1 or flat.size < 6 or flat.size % 2:
        raise ValueError(
            f"A polygon must be a flat list [x1, y1, x2, y2, …] of three corners or more; received "
            f"{str(polygon)[:80]}. COCO's annotations hold a list of such lists."
        )
    if not (np.abs(flat) <= _LARGEST).all():
        raise ValueError(
            f"Coordinates must be finite, and {_LARGEST:g} at most in size; received "
            f"{flat[~(np.abs(flat) <= _LARGEST)][0]}."
        )
    return np.trunc(_SCALE * flat + 0.5).reshape(-1, 2)


def _filled(corners, height, width):
    """Mask of one polygon, transposed."""
    changes = np.zeros((width, height + 1), "uint8")  # their number may pass 255: parity does not
    starts, ends = corners, np.roll(corners, -1, 0)
    reaches = np.abs(ends - starts)
    flat = reaches[:, 0] >= reaches[:, 1]
    for lines, rows_of in ((flat, _rows_of_flat), (~flat, _rows_of_steep)):
        axis = 0 if rows_of is _rows_of_flat else 1
        first, last = _ordered(starts[lines], ends[lines], axis)
        for line, column in _crossings(first, last, width):
            upper = rows_of(first[line], last[line], _SCALE * column + _SCALE // 2)
            row = np.ceil(np.clip((upper + 0.5) / _SCALE - 0.5, 0, height)).astype("int64")
            np.add.at(changes, (column, row), 1)
    return np.bitwise_xor.accumulate(changes[:, :height] & 1, 1).astype(bool)


def _ordered(starts, ends, axis):
    """The two ends of lines, by their coordinate along an axis."""
    swap = (starts[:, axis] > ends[:, axis])[:, None]
    return np.where(swap, ends, starts), np.where(swap, starts, ends)


def _crossings(first, last, width):
    """Yields lines, and the columns of pixels whose middle each passes, some at a time."""
    low, high = (f(first[:, 0], last[:, 0]) for f in (np.minimum, np.maximum))
    middle = _SCALE // 2
    begin = np.clip(np.ceil((low - middle) / _SCALE), 0, width).astype("int64")
    end = np.clip(np.floor((high - middle - 1) / _SCALE) + 1, 0, width).astype("int64")
    counts = np.maximum(end - begin, 0)
    chunks = np.cumsum(counts) // _PAIRS_AT_A_TIME
    for lines in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(chunks)) + 1):
        line = np.repeat(lines, counts[lines])
        before = np.cumsum(counts[lines]) - counts[lines]
        yield line, np.arange(len(line)) - np.repeat(before - begin[lines], counts[lines])


def _rows_of_flat(first, last, middle):
    """Row, on the fine grid, where lines that go right pass from column `middle` to the next.

    It is the upper one of the two points.
    """
    slope = (last[:, 1] - first[:, 1]) / (last[:, 0] - first[:, 0])
    steps = middle - first[:, 0]
    rows = (np.trunc(first[:, 1] + slope * step + 0.5) for step in (steps, steps + 1))
    return np.minimum(*rows)


def _rows_of_steep(first, last, middle):
    """As `_rows_of_flat`, of lines that go down: a point a row, of which one is the first past."""
    slope = (last[:, 0] - first[:, 0]) / (last[:, 1] - first[:, 1])
    right = slope > 0
    guess = np.ceil((middle + 0.5 - first[:, 0]) / slope)
    passed = guess - 1
    for step in (guess - 1, guess, guess + 1):  # rounding may move it by one
        beyond = first[:, 0] + slope * step + 0.5 >= middle + 1
        passed = passed + (beyond != right)
    return first[:, 1] + passed - 1
