"""Grouped convolution in the form that runs fastest on the backend at hand."""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from kdl._typing import Tensor
from kdl.ops.channels import channel_axis
from kdl.ops.convolution import conv
from kdl.ops.lowering import resolve_lowering

LOWERINGS = ("auto", "native", "split", "device")

# Narrower convolutions cost more in calls than the zeros of a block-diagonal kernel do.
_NARROWEST = 16


def grouped_conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: int | Sequence[int] = (1, 1),
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate: int | Sequence[int] = (1, 1),
    lowering: str = "auto",
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """2-D convolution in groups: output group `i` sees input group `i` only.

    The number of groups follows from the shapes: `groups = C / kernel.shape[2]`. Two equal forms
    are known. `"native"` is the backend's operation. `"split"` cuts the channels into parts,
    convolves each and joins the results; parts narrower than 16 channels are taken together, with
    zeros between the groups of their kernel. On TensorFlow and JAX the gradient of the native
    operation is some 200 times slower on a CPU. `"auto"` takes `"split"` there, and `"native"` on
    PyTorch. `"device"` is for export: `"native"`, except where `mobile_gpu_safe` denies it. There a
    kernel with `prepare` is never cut into parts: their outputs would have no quantization of their
    own and stay float in an int8 file.

    Args:
        inputs: Float tensor of rank 4.
        kernel: Tensor `(kernel_height, kernel_width, C / groups, filters)`, Keras's layout.
        strides: Step, an integer or `(vertical, horizontal)`.
        padding: `"valid"` or `"same"` (TensorFlow's rule: the odd pixel goes right and down).
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: Distance of the taps, an integer or `(vertical, horizontal)`.
        lowering: `"auto"`, `"native"`, `"split"` or `"device"`.
        prepare: Function of a kernel that treats each output channel by itself, such as
            `fake_quantize_weights`; the result is what is convolved.

    Returns:
        Tensor with `filters` channels.

    Raises:
        ValueError: If `lowering` is unknown, or the groups do not divide `C` and `filters`.

    Source: ResNeXt (arXiv 1611.05431), figure 3 (c).

    Example:
        >>> import numpy as np
        >>> x = np.ones((1, 4, 4, 8), "float32")
        >>> kernel = np.ones((1, 1, 2, 4), "float32")  # four groups of two channels
        >>> [float(y) for y in grouped_conv(x, kernel, lowering="split")[0, 0, 0]]
        [2.0, 2.0, 2.0, 2.0]
    """
    axis = channel_axis(data_format)
    width, filters = kernel.shape[2:]
    groups = _groups(inputs.shape[axis], width, filters)
    prepare = prepare or _unchanged
    if groups == 1 or _choose(lowering, width, filters, groups) == "native":
        return conv(inputs, prepare(kernel), strides, padding, data_format, dilation_rate)

    parts = groups // _groups_in_a_part(groups, width)
    late = resolve_lowering(lowering, LOWERINGS) == "device"
    if late and parts > 1 and prepare is not _unchanged:
        return conv(inputs, prepare(kernel), strides, padding, data_format, dilation_rate)

    # A converter must find what was prepared right before the convolution.
    first, second = (_unchanged, prepare) if late else (prepare, _unchanged)
    images, kernels = _split(inputs, parts, axis), _split(first(kernel), parts, -1)
    convolved = []
    for x, k in zip(images, kernels, strict=True):
        dense = second(_block_diagonal(k, groups // parts))
        convolved.append(conv(x, dense, strides, padding, data_format, dilation_rate))
    return ops.concatenate(convolved, axis=axis)


def mobile_gpu_safe(width: int, filters: int, groups: int) -> bool:
    """Tell whether mobile GPUs compute a grouped CONV_2D right: 4 divides a group's channels.

    1×1 convolutions in groups they compute right in float only, wrong in int8: use
    `kdl.deploy.rewrite_for(model, "gpu")`.

    Args:
        width: Input channels of a group.
        filters: Output channels of all groups.
        groups: Number of groups.

    Source: measured with LiteRT's GPU accelerator.

    Example:
        >>> mobile_gpu_safe(4, 128, 32), mobile_gpu_safe(2, 256, 64)
        (True, False)
    """
    return groups == 1 or (width % 4 == 0 and filters // groups % 4 == 0)


def _split(x, parts, axis):
    # A SPLIT into one part ends the process of a mobile GPU.
    return [x] if parts == 1 else ops.split(x, parts, axis=axis)


def _choose(lowering, width, filters, groups):
    lowering = resolve_lowering(lowering, LOWERINGS)
    if lowering == "auto":
        return "native" if keras.backend.backend() == "torch" else "split"
    if lowering == "device":
        return "native" if mobile_gpu_safe(width, filters, groups) else "split"
    return lowering


def _unchanged(kernel):
    return kernel


def _groups(channels, width, filters):
    if channels % width or filters % (channels // width):
        raise ValueError(
            f"A kernel of {width} input and {filters} output channels does not fit an input of "
            f"{channels} channels: the number of groups, {channels} / {width}, must be whole and "
            f"divide {filters}."
        )
    return channels // width


def _groups_in_a_part(groups, width):
    target = math.ceil(_NARROWEST / width)
    return next(n for n in range(min(target, groups), 0, -1) if groups % n == 0)


def _block_diagonal(kernel, groups):
    """Kernel `(h, w, D, F)` of `groups` groups as a dense one, `(h, w, groups·D, F)`."""
    if groups == 1:
        return kernel
    _, _, width, filters = kernel.shape
    mask = np.kron(np.eye(groups), np.ones((width, filters // groups)))
    # The converter to TFLite folds constants that a concatenation copies, not those of a tile.
    copies = ops.concatenate([kernel] * groups, axis=2)
    return ops.multiply(copies, ops.cast(mask, kernel.dtype))
