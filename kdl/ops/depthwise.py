"""Depthwise convolution in the form that runs fastest on the backend and device at hand."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.ops import _torch
from kdl.ops._jax import as_one
from kdl.ops._windows import can_slice, pair, tap_windows
from kdl.ops.channels import channel_axis
from kdl.ops.lowering import on_xla_cpu, resolve_lowering

LOWERINGS = ("auto", "native", "shift", "device")

# Above this many taps the unrolled form takes longer to compile than it saves.
_MOST_SHIFTS = 49

# Windows of all taps that still fit into the cache.
_VALUES_IN_A_PART = 4_000_000


def depthwise_conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: int | Sequence[int] = (1, 1),
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate: int | Sequence[int] = (1, 1),
    lowering: str = "auto",
) -> Tensor:
    """2-D depthwise convolution, `y[p, c·m + j] = Σ_t k[t, c, j] · x[s·p + d·t, c]`.

    Two equal forms are known. `"native"` is the backend's operation. `"shift"` writes the sum out:
    one multiply-add of a shifted slice for each tap of the kernel, which XLA fuses on a CPU, where
    its own depthwise convolution is 10 to 50 times slower. `"auto"` takes `"shift"` on JAX without
    an accelerator, for kernels of up to 49 taps, and `"native"` elsewhere: on PyTorch without the
    copies that Keras makes of images with their channels last. Inputs of dynamic height or width
    always take `"native"`.

    On JAX without an accelerator the gradient of the kernel is summed over parts of the batch where
    that is faster; it has a derivative of its own in reverse mode, not in forward mode.

    Args:
        inputs: Float tensor of rank 4.
        kernel: Tensor `(kernel_height, kernel_width, C, depth_multiplier)`, Keras's layout.
        strides: Step, an integer or `(vertical, horizontal)`.
        padding: `"valid"` or `"same"` (TensorFlow's rule: the odd pixel goes right and down).
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: Distance of the taps, an integer or `(vertical, horizontal)`.
        lowering: `"auto"`, `"native"`, `"shift"`, or `"device"`, which is `"native"`.

    Returns:
        Tensor with `C · depth_multiplier` channels.

    Raises:
        ValueError: If `lowering` is unknown, or `inputs` has not the `C` channels of the kernel.

    Example:
        >>> import numpy as np
        >>> x, k = np.ones((1, 4, 4, 2), "float32"), np.ones((3, 3, 2, 1), "float32")
        >>> float(depthwise_conv(x, k, lowering="shift")[0, 0, 0, 0])
        9.0
    """
    strides, dilation_rate = pair(strides), pair(dilation_rate)
    lowering = resolve_lowering(lowering, LOWERINGS)
    if lowering == "auto":
        taps = kernel.shape[0] * kernel.shape[1]
        lowering = "shift" if on_xla_cpu() and taps <= _MOST_SHIFTS else "native"
    channels = inputs.shape[channel_axis(data_format)]
    if channels not in (None, kernel.shape[2]):
        raise ValueError(
            f"The kernel is for {kernel.shape[2]} channels; received inputs of {channels} "
            f"channels, of shape {tuple(inputs.shape)}."
        )
    if lowering == "shift" and can_slice(inputs):
        geometry = (strides, padding, data_format, dilation_rate)
        return as_one(_shifted, (inputs, kernel), *geometry)
    if keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(inputs):
        kernel = ops.reshape(kernel, (*kernel.shape[:2], 1, -1))
        return _torch.conv(inputs, kernel, strides, padding, data_format, dilation_rate)
    return ops.depthwise_conv(inputs, kernel, strides, padding, data_format, dilation_rate)


def _shifted(inputs, kernel, strides, padding, data_format, dilation_rate):
    def convolve(x, taps):
        return _multiply_add(x, taps, strides, padding, data_format, dilation_rate)

    inputs, kernel = ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel)
    if not _can_cut_batch(inputs.shape[0]):
        return convolve(inputs, kernel)
    parts = _parts(inputs.shape, math.prod(kernel.shape[:2]) / math.prod(strides))
    return _with_kernel_gradient_in_parts(convolve, parts)(inputs, kernel)


def _can_cut_batch(size):
    """Tell whether XLA compiles for one CPU, and the batch is static, not spread over devices."""
    alone = on_xla_cpu() and keras.distribution.distribution() is None
    return alone and isinstance(size, int) and size > 1


def _parts(shape, windows):
    """Number of parts of a batch whose pixels appear in so many windows: two or more."""
    batch, *image = shape
    target = int(_VALUES_IN_A_PART / (math.prod(image) * windows))
    largest = max(min(target, batch // 2), 1)
    return batch // next(n for n in range(largest, 0, -1) if batch % n == 0)


def _multiply_add(inputs, kernel, strides, padding, data_format, dilation_rate):
    *kernel_size, _, multiplier = kernel.shape
    if multiplier > 1:
        inputs = ops.repeat(inputs, multiplier, axis=channel_axis(data_format))
    broadcast = (1, 1, -1) if data_format == "channels_last" else (-1, 1, 1)
    windows = tap_windows(inputs, kernel_size, strides, padding, data_format, dilation_rate)
    output = None
    for tap, window in enumerate(windows):
        weights = kernel[tap // kernel_size[1], tap % kernel_size[1]]
        term = ops.multiply(window, ops.reshape(weights, broadcast))
        output = term if output is None else ops.add(output, term)
    return output


def _with_kernel_gradient_in_parts(convolve, parts):
    """`convolve(x, kernel)` whose kernel gradient is summed over `parts` of the batch, in turn.

    XLA writes each tap's window of the whole batch to fresh memory before it sums, and mapping that
    memory takes longer than the sum; windows of a few images stay in the cache. Nor can XLA work
    out the layer before once more for each tap, since a loop takes finished tensors. JAX only.
    """
    import jax

    def split(x):
        return x.reshape(parts, -1, *x.shape[1:])

    def forward(x, kernel):
        return convolve(x, kernel), (x, kernel)

    def backward(saved, gradient):
        x, kernel = saved
        [input_gradient] = jax.vjp(lambda x: convolve(x, kernel), x)[1](gradient)

        def add(total, part):
            images, share = part
            [kernel_gradient] = jax.vjp(lambda k: convolve(images, k), kernel)[1](share)
            return total + kernel_gradient.astype(zeros.dtype), None

        zeros = jax.numpy.zeros(kernel.shape, jax.numpy.promote_types(kernel.dtype, "float32"))
        total, _ = jax.lax.scan(add, zeros, (split(x), split(gradient)))
        return input_gradient, total.astype(kernel.dtype)

    split_convolve = jax.custom_vjp(convolve)
    split_convolve.defvjp(forward, backward)
    return split_convolve
