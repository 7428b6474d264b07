"""The cells of feature maps, on which anchors stand."""

import numpy as np

from kdl._checks import check_integer


def check_levels(image_size, grids, levels):
    """Sizes as pairs of integers.

    Raises:
        ValueError: If a size is none, or grids and levels differ in number.
    """
    if len(grids) != levels:
        raise ValueError(f"Expected the grids of {levels} levels; received {len(grids)}: {grids}.")
    return _pair("image_size", image_size), [_pair("grids", grid) for grid in grids]


def strides_of(image_size, grid, stride=None):
    """Pixels from one cell to the next, down and across.

    Without a stride as torchvision has it: sides of image and grid divided, rounded down.
    """
    if stride is not None:
        return (stride, stride)
    strides = tuple(side // cells for side, cells in zip(image_size, grid, strict=True))
    if 0 in strides:
        raise ValueError(f"An image of {image_size} pixels has no grid of {grid} cells.")
    return strides


def grid_of(image_size, stride):
    """Cells of features of a stride, down and across."""
    return tuple(-(-side // stride) for side in image_size)


def exact_strides(image_size, grids):
    """For each grid the power of 2 that gives it; None if torchvision's rule is to be kept.

    torchvision brings images to multiples of 32 pixels. With other sizes its strides, sides divided
    and rounded down, would put anchors ever farther from the features that they are of.
    """
    if all(side % 32 == 0 for side in image_size):
        return None
    powers = [1 << exponent for exponent in range(12)]
    strides = [next((p for p in powers if grid_of(image_size, p) == grid), None) for grid in grids]
    return None if None in strides else strides


def on_grid(shapes, grid, strides, first):
    """Boxes around each cell, by row, column and shape.

    Args:
        shapes: Boxes around 0, `(shapes, 4)`.
        grid: Rows and columns.
        strides: Pixels from one to the next, down and across.
        first: Place of the first cell's center, in cells.

    Returns:
        float32 array `(rows × columns × shapes, 4)`.
    """
    y, x = ((np.arange(n) + first) * step for n, step in zip(grid, strides, strict=True))
    y, x = np.meshgrid(y, x, indexing="ij")
    centers = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (centers + shapes).reshape(-1, 4).astype("float32")


def _pair(name, size):
    try:
        height, width = size
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected (height, width); received {size!r}.") from None
    return check_integer(name, height), check_integer(name, width)
