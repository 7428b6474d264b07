"""ROIAlign: features of regions, read by bilinear interpolation at points inside their cells.

An image is a table with a row of channels for each pixel, and a cell of a region a weighted sum of
a few rows. As the points of a cell lie on a grid, rows and columns of the image are found apart,
and the weights are products. The tables of all images and levels of a pyramid are one, so that each
region is read once, from its own level, and all shapes are static.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import ArrayLike, Tensor
from kdl.ops._concrete import concrete_values
from kdl.ops._shapes import shapes_match
from kdl.ops.boxes import as_boxes, box_area

_TINY = 1e-30

# Pixels of a cell, of more of which the sum is a loop.
_UNROLLED = 64


def roi_align(
    features: ArrayLike,
    boxes: ArrayLike,
    size: int | tuple[int, int] = 7,
    scale: float = 1.0,
    sampling_ratio: int | None = 2,
    aligned: bool = True,
) -> Tensor:
    """Features of regions of an image, as images of one size (ROIAlign).

    A box is divided into `size` cells. A cell is the mean of the features at
    `sampling_ratio × sampling_ratio` points spread evenly in it, each interpolated bilinearly
    between four pixels. A point up to a pixel outside of the image has the values of its border,
    one farther away is 0 and counts in the mean. Boxes get no gradient.

    Shapes: features `(batch, height, width, channels)`, boxes `(batch, N, 4)`, results
    `(batch, N, *size, channels)` in the dtype of the features; computed in float32 at least.

    Args:
        features: Float tensor, channels last.
        boxes: `(x1, y1, x2, y2)`, in pixels of the network's input.
        size: Cells down and across, or one number for both. Defaults to 7.
        scale: Pixels of the features for a pixel of the input, such as 1/16. Defaults to 1.
        sampling_ratio: Points a cell, down and across. None takes as many as a cell has pixels
            down and across, rounded up, and at most as many as a cell of a box has that is as large
            as the image. In compiled code, and on accelerators, each cell then costs as much as of
            such a box. Defaults to 2.
        aligned: If coordinate 0 is the left edge of the first pixel, half a pixel before its
            center; else it is its center, as in older code, where sides below a pixel are a pixel,
            too. Defaults to True.

    Raises:
        ValueError: If a shape is none of these, or a number is not positive.

    Source: He et al., Mask R-CNN (arXiv 1703.06870), section 3; `aligned` as in Detectron2.

    Example:
        >>> import numpy as np
        >>> image = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
        >>> cells = roi_align(image, np.array([[[1.0, 1.0, 3.0, 3.0]]]), size=2)
        >>> [[float(value) for value in row] for row in cells[0, 0, :, :, 0]]
        [[6.0, 7.0], [11.0, 12.0]]
    """
    (boxes,) = as_boxes(boxes=boxes)
    levels = ops.zeros_like(boxes[..., 0], dtype="int32")
    return pyramid_roi_align([features], boxes, levels, [scale], size, sampling_ratio, aligned)


def pyramid_roi_align(
    features: Sequence[ArrayLike],
    boxes: ArrayLike,
    levels: ArrayLike,
    scales: Sequence[float],
    size: int | tuple[int, int] = 7,
    sampling_ratio: int | None = 2,
    aligned: bool = True,
) -> Tensor:
    """ROIAlign of a feature pyramid: each region is read from a level of its own.

    Shapes: features `(batch, height, width, channels)` each, boxes `(batch, N, 4)`, levels
    `(batch, N)`, results `(batch, N, *size, channels)`; `kdl.ops.roi_align` tells the rest.

    Args:
        features: Float tensors of the levels, channels last, as many channels in each.
        boxes: `(x1, y1, x2, y2)`, in pixels of the network's input.
        levels: Integers, the place in `features` of each box; `kdl.ops.roi_levels` gives them.
        scales: For each level, its pixels for a pixel of the input.
        size: As in `roi_align`.
        sampling_ratio: As in `roi_align`.
        aligned: As in `roi_align`.

    Raises:
        ValueError: If a shape is none of these, levels and scales differ in number, or a number
            is not positive.

    Source: Lin et al., Feature Pyramid Networks (arXiv 1612.03144), section 4.2.
    """
    down, across = size if isinstance(size, tuple | list) else (size, size)
    cells = check_integer("size", down), check_integer("size", across)
    if sampling_ratio is not None:
        check_integer("sampling_ratio", sampling_ratio)
    features = [ops.convert_to_tensor(level) for level in features]
    (boxes,) = as_boxes(boxes=boxes)
    levels = ops.convert_to_tensor(levels)
    _check(features, boxes, levels, scales)
    levels = ops.clip(ops.cast(levels, "int32"), 0, len(features) - 1)
    boxes = ops.stop_gradient(boxes) * ops.expand_dims(_of_level(scales, levels, boxes.dtype), -1)
    heights, widths = ([ops.shape(level)[axis] for level in features] for axis in (1, 2))
    (rows, row_weights), (columns, column_weights) = (
        sample_points(boxes[..., axis::2], levels, limits, count, sampling_ratio, aligned)
        for axis, limits, count in ((1, heights, cells[0]), (0, widths, cells[1]))
    )
    table, first, width = _table(features, heights, widths, levels)
    rows = rows * width + first
    index = ops.expand_dims(rows, (-3, -1)) + ops.expand_dims(columns, (-4, -2))
    weights = ops.expand_dims(row_weights, (-3, -1)) * ops.expand_dims(column_weights, (-4, -2))
    values = _weighted_sums(table, _merged(index), _merged(weights))
    shape = (*ops.shape(boxes)[:2], *cells, table.shape[-1])
    return ops.cast(ops.reshape(values, shape), features[0].dtype)


def roi_levels(
    boxes: ArrayLike,
    first: int = 2,
    last: int = 5,
    canonical_level: int = 4,
    canonical_size: float = 224.0,
    rule: str = "torchvision",
) -> Tensor:
    """Level of a feature pyramid from which a region is read, by its size.

    `level = ⌊k₀ + log₂(s / s₀)⌋` with the side `s = √area`, from `first` to `last`; the result is
    counted from `first`, as `kdl.ops.pyramid_roi_align` takes it. Just below a side where the level
    changes, rounding decides: torchvision adds 1e-6 to the logarithm, Detectron2 1e-8 to `s / s₀`.

    Args:
        boxes: Tensor `(…, 4)`, in pixels of the network's input.
        first: The finest level, of stride `2 ** first`. Defaults to 2.
        last: The coarsest. Defaults to 5.
        canonical_level: `k₀`, the level of a box of the canonical size. Defaults to 4.
        canonical_size: `s₀`, in pixels. Defaults to 224, ImageNet's images.
        rule: `"torchvision"` (default) or `"detectron2"`.

    Returns:
        int32 tensor `(…)`, from 0 to `last − first`.

    Raises:
        ValueError: If the last axis is not 4, or an argument is none of these.

    Source: Lin et al., Feature Pyramid Networks (arXiv 1612.03144), equation 1.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[0.0, 0, 56, 56], [0, 0, 112, 112], [0, 0, 900, 900]])
        >>> [int(level) for level in roi_levels(boxes)]
        [0, 1, 3]
    """
    check_choice("rule", rule, ("torchvision", "detectron2"))
    check_integer("last", last, least=first)
    share = ops.sqrt(box_area(boxes)) / canonical_size
    share = ops.where(share >= 0, share, 0.0)  # of boxes that are no numbers
    if rule == "torchvision":
        logarithm = ops.log2(ops.maximum(share, _TINY)) + 1e-6
    else:
        logarithm = ops.log2(share + 1e-8)
    level = ops.clip(ops.floor(canonical_level + logarithm), first, last)
    return ops.cast(level - first, "int32")


def _check(features, boxes, levels, scales):
    if len(scales) != len(features):
        raise ValueError(f"Expected a scale for each of {len(features)} levels, not {len(scales)}.")
    if not all(0 < scale < float("inf") for scale in scales):
        raise ValueError(f"Scales must be positive and finite; received {list(scales)}.")
    shapes = [tuple(level.shape) for level in features]
    if any(len(shape) != 4 for shape in shapes) or len({shape[-1] for shape in shapes}) > 1:
        raise ValueError(
            f"Expected features (batch, height, width, channels), as many channels in each level; "
            f"received shapes {shapes}."
        )
    if not all(keras.backend.is_float_dtype(ops.dtype(level)) for level in features):
        raise ValueError(f"Expected float features; received {[ops.dtype(x) for x in features]}.")
    if len(boxes.shape) != 3 or not shapes_match(levels.shape, boxes.shape[:2]):
        raise ValueError(
            f"Expected boxes (batch, N, 4), and levels (batch, N); received shapes "
            f"{tuple(boxes.shape)} and {tuple(levels.shape)}."
        )
    batches = {x.shape[0] for x in (*features, boxes)} - {None}
    if len(batches) > 1:
        raise ValueError(
            f"Expected features and boxes of as many images; received {sorted(batches)}."
        )


def _of_level(values, levels, dtype):
    """Of one value a level, that of each region."""
    if len(values) == 1:
        return ops.cast(values[0], dtype)
    return ops.take(ops.stack([ops.cast(value, dtype) for value in values]), levels, 0)


def sample_points(edges, levels, limits, count, sampling_ratio, aligned):
    """Pixels that the cells of a region are read from along one axis, and their weights.

    Args:
        edges: `(batch, N, 2)`, in pixels of the region's level.
        levels: `(batch, N)`.
        limits: Number of pixels along the axis, a level each.
        count: Cells of a region.
        sampling_ratio: Points of a cell, or None.
        aligned: As in `roi_align`.

    Returns:
        Tensors `(batch, N, count, 2 × points)`, int32 and float.
    """
    low = edges[..., 0] - 0.5 * aligned
    side = edges[..., 1] - edges[..., 0]
    cell = (side if aligned else ops.maximum(side, 1.0)) / count
    points = ops.ceil(cell) if sampling_ratio is None else ops.ones_like(cell) * sampling_ratio
    most = sampling_ratio or _most_points(points, limits, count)
    points = ops.where(points > 0, ops.minimum(points, most), 0.0)  # of NaN, too
    low, cell, points = (ops.expand_dims(x, (-2, -1)) for x in (low, cell, points))
    steps = ops.expand_dims(ops.arange(count, dtype=cell.dtype), -1)
    within = ops.arange(most, dtype=cell.dtype)
    divisor = ops.maximum(points, 1.0)
    place = low + steps * cell + (within + 0.5) * cell / divisor
    limit = ops.expand_dims(_of_level(limits, levels, cell.dtype) + ops.zeros_like(side), (-2, -1))
    counts = (place >= -1) & (place <= limit) & (within < points)
    place = ops.where(counts, ops.clip(place, 0.0, limit - 1), 0.0)
    before = ops.floor(place)
    after = ops.minimum(before + 1, limit - 1)
    share = ops.cast(counts, cell.dtype) / divisor
    pixels = ops.concatenate([before, after], -1)
    weights = ops.concatenate([(1 - place + before) * share, (place - before) * share], -1)
    return ops.cast(pixels, "int32"), weights


def _most_points(points, limits, count):
    """Most points that a cell of any region takes, at most those of a box as large as the image."""
    known = [limit for limit in limits if isinstance(limit, int)]
    if len(known) < len(limits):
        raise ValueError(
            "sampling_ratio=None needs features of known height and width: give a number, as 2."
        )
    most = max(math.ceil(limit / count) for limit in known)
    values = concrete_values(points)
    if values is None:
        return most
    return int(np.clip(values[np.isfinite(values)].max(initial=1), 1, most))


def _table(features, heights, widths, levels):
    """The pixels of all images and levels in rows, the first row of each region, and its width."""
    channels = features[0].shape[-1]
    areas = [height * width for height, width in zip(heights, widths, strict=True)]
    pairs = zip(features, areas, strict=True)
    rows = [ops.reshape(level, (-1, area, channels)) for level, area in pairs]
    starts = [sum(areas[:number]) for number in range(len(areas))]
    table = ops.reshape(rows[0] if len(rows) == 1 else ops.concatenate(rows, 1), (-1, channels))
    image = ops.expand_dims(ops.arange(ops.shape(levels)[0], dtype="int32"), -1)
    first = image * sum(areas) + _of_level(starts, levels, "int32")
    width = _of_level(widths, levels, "int32") + ops.zeros_like(levels)
    return table, *(ops.expand_dims(x, (-2, -1)) for x in (first, width))


def _merged(x):
    """All cells of all regions in rows, each with its pixels."""
    return ops.reshape(x, (-1, x.shape[-2] * x.shape[-1]))


def _weighted_sums(table, index, weights):
    """Sum of the rows of a table that each row of `index` names, with their weights."""
    table = ops.cast(table, weights.dtype)
    if keras.backend.backend() == "torch":
        import torch

        return torch.nn.functional.embedding_bag(
            index, table, per_sample_weights=weights, mode="sum"
        )
    total = ops.zeros((ops.shape(index)[0], table.shape[-1]), table.dtype)

    def add(place, total):
        of_place = ops.take(index, place, 1), ops.take(weights, place, 1)
        return total + ops.take(table, of_place[0], 0) * ops.expand_dims(of_place[1], -1)

    if index.shape[-1] > _UNROLLED:
        return ops.fori_loop(0, index.shape[-1], add, total)
    for place in range(index.shape[-1]):
        total = add(place, total)
    return total
