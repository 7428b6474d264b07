"""Pooling in the form that runs fastest on the backend and device at hand."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.ops import _torch
from kdl.ops._jax import as_one
from kdl.ops._windows import can_slice, pair, tap_windows
from kdl.ops.lowering import on_xla_cpu, resolve_lowering

LOWERINGS = ("auto", "native", "shift", "device")

# Above this many taps the unrolled form takes longer to compile than it saves.
_MOST_SHIFTS = 25


def max_pool(
    inputs: Tensor,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int],
    padding: str = "valid",
    data_format: str = "channels_last",
    lowering: str = "auto",
) -> Tensor:
    """Maximum over windows, `y[p, c] = max_t x[s·p + t, c]`.

    Two equal forms are known. `"native"` is the backend's operation, on PyTorch without the copies
    that Keras makes of images with their channels last. `"shift"` is the maximum of shifted slices,
    whose gradient XLA computes some ten times faster on a CPU. Both send the gradient to the first
    of equal pixels, row by row; in the second form a NaN in a window is its maximum. `"auto"` takes
    `"shift"` on JAX without an accelerator, for windows of up to 25 pixels, and `"native"`
    elsewhere.

    Args:
        inputs: Float tensor of rank 4.
        pool_size: Window, an integer or `(height, width)`.
        strides: Step, an integer or `(vertical, horizontal)`.
        padding: `"valid"` or `"same"` (TensorFlow's rule; pixels outside count as −∞).
        data_format: `"channels_last"` or `"channels_first"`.
        lowering: `"auto"`, `"native"`, `"shift"`, or `"device"`, which is `"native"`. Inputs of
            unknown size are always `"native"`.

    Returns:
        Tensor of the dtype of `inputs`.

    Raises:
        ValueError: If `lowering` is unknown.

    Example:
        >>> import numpy as np
        >>> x = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
        >>> [float(v) for v in max_pool(x, (2, 2), (2, 2), lowering="shift")[0, 0, :, 0]]
        [5.0, 7.0]
    """
    pool_size, strides = pair(pool_size), pair(strides)
    lowering = resolve_lowering(lowering, LOWERINGS)
    if lowering == "auto":
        few = math.prod(pair(pool_size)) <= _MOST_SHIFTS
        lowering = "shift" if few and on_xla_cpu() else "native"
    if lowering == "shift" and can_slice(inputs):
        return as_one(_shifted, (inputs,), pool_size, strides, padding, data_format)
    if keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(inputs):
        return _torch.max_pool(inputs, pool_size, strides, padding, data_format)
    return ops.max_pool(inputs, pool_size, strides, padding, data_format)


def average_pool(
    inputs: Tensor,
    pool_size: int | Sequence[int],
    strides: int | Sequence[int],
    padding: str = "valid",
    data_format: str = "channels_last",
) -> Tensor:
    """Mean over windows; with `padding="same"`, at the border, over the pixels that are there.

    Keras's own on PyTorch repeats the last pixels where one side needs more padding than the other,
    and averages those too; this function does not.

    Args:
        inputs: Float tensor of rank 4.
        pool_size: Window, an integer or `(height, width)`.
        strides: Step, an integer or `(vertical, horizontal)`.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Tensor of the dtype of `inputs`.

    Source: tensorflow.org, `tf.nn.avg_pool2d`, padding `"SAME"`.

    Example:
        >>> import numpy as np
        >>> x = np.arange(4, dtype="float32").reshape(1, 2, 2, 1)
        >>> float(average_pool(x, (3, 3), (2, 2), "same")[0, 0, 0, 0])
        1.5
    """
    pool_size, strides = pair(pool_size), pair(strides)
    if keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(inputs):
        return _torch.average_pool(inputs, pool_size, strides, padding, data_format)
    return ops.average_pool(inputs, pool_size, strides, padding, data_format)


def _shifted(inputs, pool_size, strides, padding, data_format):
    inputs = ops.convert_to_tensor(inputs)
    windows = tap_windows(inputs, pool_size, strides, padding, data_format, fill=-float("inf"))
    largest = next(windows)
    for window in windows:
        stays = ops.logical_or(largest >= window, ops.isnan(largest))
        largest = ops.where(stays, largest, window)
    return largest
