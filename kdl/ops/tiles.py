"""Averages over square tiles of an image, and their way back to its size."""

import math
from collections.abc import Sequence

import numpy as np
from keras import ops

from kdl._typing import Tensor
from kdl.ops._shapes import along_axis
from kdl.ops.channels import channel_axis, image_size, spatial_axes
from kdl.ops.pooling import average_pool


def average_tiles(inputs: Tensor, size: int, data_format: str = "channels_last") -> Tensor:
    """Mean over tiles of `size`×`size` pixels; what is left at the right and the bottom is dropped.

    Along a side shorter than `size` there is one tile, as long as the side.

    Args:
        inputs: Tensor `(batch, height, width, C)`, or `(batch, C, height, width)` with
            `data_format="channels_first"`. Height and width may be dynamic in TensorFlow graphs.
        size: Side of a tile in pixels.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Tensor with `max(⌊height / size⌋, 1)` rows and `max(⌊width / size⌋, 1)` columns.

    Raises:
        ValueError: If `inputs` is symbolic and its height or width dynamic.

    Example:
        >>> x = np.arange(5, dtype="float32").reshape(1, 1, 5, 1)
        >>> [float(v) for v in average_tiles(x, 2)[0, 0, :, 0]]
        [0.5, 2.5]
    """
    height, width = image_size(inputs, data_format)
    if isinstance(height, int) and isinstance(width, int):
        tile = (min(size, height), min(size, width))
        return average_pool(inputs, tile, tile, "valid", data_format)
    height, width = (ops.maximum(n // size * size, ops.minimum(n, size)) for n in (height, width))
    if channel_axis(data_format) == 1:
        cropped = inputs[:, :, :height, :width]
    else:
        cropped = inputs[:, :height, :width]
    # The sides are multiples of the tile, or shorter than one: "same" averages what is there.
    return ops.average_pool(cropped, size, size, padding="same", data_format=data_format)


def resize_nearest(
    inputs: Tensor, size: Sequence[int | Tensor], data_format: str = "channels_last"
) -> Tensor:
    """Nearest-neighbor resize: output pixel `i` of `n` is input pixel `⌊i · m / n⌋` of `m`.

    This is the rule of PyTorch's `interpolate` and of TensorFlow 1. Keras's `resize` rounds
    half-pixel centers, which is not the same unless `m` divides `n`: from 3 to 14 pixels it makes
    5, 4 and 5 copies, this function 5, 5 and 4.

    Args:
        inputs: Tensor `(batch, height, width, C)`, or `(batch, C, height, width)` with
            `data_format="channels_first"`. Any dtype.
        size: `(height, width)` of the result: integers, or scalar tensors in a graph of TensorFlow.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Tensor of the dtype of `inputs`.

    Raises:
        ValueError: If `inputs` is symbolic and its height or width dynamic.

    Example:
        >>> x = np.arange(3, dtype="float32").reshape(1, 1, 3, 1)
        >>> [int(v) for v in resize_nearest(x, (1, 7))[0, 0, :, 0]]
        [0, 0, 0, 1, 1, 2, 2]
    """
    sources = image_size(inputs, data_format)
    static = all(isinstance(n, int) for n in (*size, *sources))
    for axis, target, source in zip(spatial_axes(data_format), size, sources, strict=True):
        if static and target % source == 0:
            inputs = _repeat(inputs, axis, target // source)
        else:
            pixels = (np if static else ops).arange(target, dtype="int32")
            inputs = ops.take(inputs, pixels * source // target, axis)
    return inputs


def resize_bilinear(
    inputs: Tensor, size: Sequence[int | Tensor], data_format: str = "channels_last"
) -> Tensor:
    """Bilinear resize with half-pixel centers, as `keras.ops.image.resize`, also to a dynamic size.

    Args:
        inputs: Tensor `(batch, height, width, C)`, or `(batch, C, height, width)` with
            `data_format="channels_first"`. Float dtype.
        size: `(height, width)` of the result: integers, or scalar tensors in a graph of TensorFlow.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Tensor of the dtype of `inputs`.

    Raises:
        ValueError: If `inputs` is symbolic and its height or width dynamic.

    Example:
        >>> x = np.array([0, 4], dtype="float32").reshape(1, 1, 2, 1)
        >>> [float(v) for v in resize_bilinear(x, (1, 4))[0, 0, :, 0]]
        [0.0, 1.0, 3.0, 4.0]
    """
    sources = image_size(inputs, data_format)
    if all(isinstance(n, int) for n in (*size, *sources)):
        return ops.image.resize(inputs, size, "bilinear", data_format=data_format)
    for axis, target, source in zip(spatial_axes(data_format), size, sources, strict=True):
        inputs = _stretch(inputs, axis, target, source)
    return inputs


def _repeat(inputs, axis, times):
    """Each pixel `times` times along one axis.

    Copies of all that a pixel holds, side by side, are that many pixels. On XLA this is some twenty
    times faster than `take` with its gradient, and no tensor has more than four axes.
    """
    shape = list(inputs.shape[1:])
    before, after = math.prod(shape[: axis - 1]), math.prod(shape[axis:])
    pixels = ops.reshape(inputs, (-1, before, shape[axis - 1], after))
    shape[axis - 1] *= times
    return ops.reshape(ops.tile(pixels, (1, 1, 1, times)), (-1, *shape))


def _stretch(inputs, axis, target, source):
    """Linear interpolation along one axis, from `source` to `target` pixels."""
    centers = ops.arange(target, dtype="float32") + 0.5
    position = centers * ops.cast(source, "float32") / ops.cast(target, "float32") - 0.5
    position = ops.maximum(position, 0.0)
    low = ops.cast(position, "int32")
    high = ops.minimum(low + 1, source - 1)
    share = ops.cast(position - ops.cast(low, "float32"), inputs.dtype)
    share = ops.reshape(share, along_axis(axis, 4))
    return ops.take(inputs, low, axis) * (1 - share) + ops.take(inputs, high, axis) * share
