"""Depthwise convolution in the form that runs fastest on the backend and device at hand."""

from keras import ops

from kdl.ops.channels import channel_axis
from kdl.ops.lowering import on_xla_cpu, resolve_lowering

LOWERINGS = ("auto", "native", "shift", "device")

# Above this many taps the unrolled form takes longer to compile than it saves.
_MOST_SHIFTS = 49


def depthwise_conv(
    inputs,
    kernel,
    strides=(1, 1),
    padding="valid",
    data_format="channels_last",
    dilation_rate=(1, 1),
    lowering="auto",
):
    """2-D depthwise convolution, `y[p, c·m + j] = Σ_t k[t, c, j] · x[s·p + d·t, c]`.

    Two equal forms are known. `"native"` is the backend's operation. `"shift"` writes the sum out:
    one multiply-add of a shifted slice for each tap of the kernel, which XLA fuses on a CPU, where
    its own depthwise convolution is 10 to 50 times slower. `"auto"` takes `"shift"` on JAX without
    an accelerator, for kernels of up to 49 taps, and `"native"` elsewhere. Inputs of unknown
    height or width always take `"native"`.

    Args:
        inputs: Float tensor of rank 4.
        kernel: Tensor `(kernel_height, kernel_width, C, depth_multiplier)`, Keras's layout.
        strides: Step `(vertical, horizontal)`.
        padding: `"valid"` or `"same"` (TensorFlow's rule: the odd pixel goes right and down).
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: Distance of the taps `(vertical, horizontal)`.
        lowering: `"auto"`, `"native"`, `"shift"`, or `"device"`, which is `"native"`.

    Returns:
        Tensor with `C · depth_multiplier` channels.

    Raises:
        ValueError: If `lowering` is unknown.

    Example:
        >>> import numpy as np
        >>> x, k = np.ones((1, 4, 4, 2), "float32"), np.ones((3, 3, 2, 1), "float32")
        >>> float(depthwise_conv(x, k, lowering="shift")[0, 0, 0, 0])
        9.0
    """
    lowering = resolve_lowering(lowering, LOWERINGS)
    if lowering == "auto":
        taps = kernel.shape[0] * kernel.shape[1]
        lowering = "shift" if on_xla_cpu() and taps <= _MOST_SHIFTS else "native"
    if lowering != "shift" or None in tuple(inputs.shape)[1:]:
        return ops.depthwise_conv(inputs, kernel, strides, padding, data_format, dilation_rate)
    return _shifted(inputs, kernel, strides, padding, data_format, dilation_rate)


def _shifted(inputs, kernel, strides, padding, data_format, dilation_rate):
    rows, columns = (1, 2) if channel_axis(data_format) == -1 else (2, 3)
    sizes = (inputs.shape[rows], inputs.shape[columns])
    spans = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation_rate, strict=True)]
    if padding == "same":
        pads = [_same_pads(*args) for args in zip(sizes, spans, strides, strict=True)]
        widths = [(0, 0)] * 4
        widths[rows], widths[columns] = pads
        inputs = ops.pad(inputs, widths)
        sizes = [n + sum(pad) for n, pad in zip(sizes, pads, strict=True)]
    reach = [(n - span) // s * s + 1 for n, span, s in zip(sizes, spans, strides, strict=True)]

    multiplier = kernel.shape[3]
    if multiplier > 1:
        inputs = ops.repeat(inputs, multiplier, axis=channel_axis(data_format))
    broadcast = (1, 1, -1) if data_format == "channels_last" else (-1, 1, 1)
    output = None
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            top, left = i * dilation_rate[0], j * dilation_rate[1]
            down = slice(top, top + reach[0], strides[0])
            across = slice(left, left + reach[1], strides[1])
            if data_format == "channels_last":
                window = inputs[:, down, across, :]
            else:
                window = inputs[:, :, down, across]
            term = ops.multiply(window, ops.reshape(kernel[i, j], broadcast))
            output = term if output is None else ops.add(output, term)
    return output


def _same_pads(size, span, stride):
    """Pixels before and after, so that the output has `ceil(size / stride)` pixels."""
    total = max(span - ((size - 1) % stride + 1), 0)
    return total // 2, total - total // 2
