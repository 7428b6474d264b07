"""Convolution in the form that runs fastest on the backend and device at hand."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.ops import _torch
from kdl.ops._jax import as_one
from kdl.ops._windows import can_slice, pair, tap_windows
from kdl.ops.lowering import on_xla_cpu, resolve_lowering

LOWERINGS = ("auto", "native", "matmul", "device")

# Wider patches take longer to write down than the product saves.
_WIDEST_PATCH = 32


def conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: int | Sequence[int] = (1, 1),
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate: int | Sequence[int] = (1, 1),
    lowering: str = "auto",
) -> Tensor:
    """2-D convolution, `y[p, f] = Σ_t Σ_c k[t, c, f] · x[s·p + d·t, c]`.

    Two equal forms are known. `"native"` is the backend's operation, on PyTorch without the copies
    that Keras makes of images with their channels last. `"matmul"` is the product of a matrix of
    pixels with the kernel; a kernel of more than one tap sees patches, the taps' pixels side by
    side. On XLA for CPUs it is two to seven times faster to train for 1×1 kernels, and for the
    first layer of a network, which sees few channels. `"auto"` takes `"matmul"` there (JAX without
    an accelerator, patches of up to 32 values, channels last) and `"native"` elsewhere.

    Args:
        inputs: Float tensor of rank 4.
        kernel: Tensor `(kernel_height, kernel_width, C / groups, filters)`, Keras's layout; the
            number of groups follows from the shapes.
        strides: Step, an integer or `(vertical, horizontal)`.
        padding: `"valid"` or `"same"` (TensorFlow's rule: the odd pixel goes right and down).
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: Distance of the taps, an integer or `(vertical, horizontal)`.
        lowering: `"auto"`, `"native"`, `"matmul"`, or `"device"`, which is `"native"`. Grouped
            convolutions, inputs of unknown size and channels first are always `"native"`.

    Returns:
        Tensor with `filters` channels.

    Raises:
        ValueError: If `lowering` is unknown.

    Example:
        >>> import numpy as np
        >>> x, k = np.ones((1, 4, 4, 2), "float32"), np.ones((3, 3, 2, 5), "float32")
        >>> float(conv(x, k, lowering="matmul")[0, 0, 0, 0])
        18.0
    """
    strides, dilation_rate = pair(strides), pair(dilation_rate)
    if _choose(inputs, kernel, data_format, lowering) == "matmul":
        return as_one(_product, (inputs, kernel), strides, padding, dilation_rate)
    if keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(inputs):
        return _torch.conv(inputs, kernel, strides, padding, data_format, dilation_rate)
    return ops.conv(inputs, kernel, strides, padding, data_format, dilation_rate)


def _choose(inputs, kernel, data_format, lowering):
    lowering = resolve_lowering(lowering, LOWERINGS)
    if data_format != "channels_last" or not can_slice(inputs):
        return "native"
    taps, width = math.prod(kernel.shape[:2]), kernel.shape[2]
    if inputs.shape[3] != width:
        return "native"
    if lowering == "auto":
        narrow = taps == 1 or taps * width <= _WIDEST_PATCH
        return "matmul" if narrow and on_xla_cpu() else "native"
    return lowering


def _product(inputs, kernel, strides, padding, dilation_rate):
    *kernel_size, width, filters = kernel.shape
    windows = tap_windows(
        inputs, kernel_size, strides, padding, "channels_last", dilation_rate=dilation_rate
    )
    patches = ops.concatenate(list(windows), axis=-1)
    rows = ops.reshape(patches, (-1, math.prod(kernel_size) * width))
    product = ops.matmul(rows, ops.reshape(kernel, (-1, filters)))
    return ops.reshape(product, (-1, *patches.shape[1:3], filters))
