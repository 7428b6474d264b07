"""The sliding windows of convolutions and pools, as one slice of the image for each tap."""

import keras
from keras import ops

from kdl._checks import is_integer
from kdl.ops.channels import spatial_axes


def pair(value):
    """A size, step or distance given once as `(vertical, horizontal)`."""
    return (value, value) if is_integer(value) else tuple(value)


def same_pads(size, span, stride):
    """Pixels before and after, so that the output has `⌈size / stride⌉` pixels."""
    total = max(span - ((size - 1) % stride + 1), 0)
    return total // 2, total - total // 2


def can_slice(inputs):
    """Tell whether `inputs` is a tensor, not a symbol, of static height, width and channels."""
    static = len(inputs.shape) == 4 and all(isinstance(n, int) for n in inputs.shape[1:])
    return static and not keras.backend.is_keras_tensor(inputs)


def tap_windows(inputs, kernel_size, strides, padding, data_format, dilation_rate=(1, 1), fill=0.0):
    """For each tap of a kernel, row by row, the pixels that it sees at all places.

    Args:
        inputs: Tensor of rank 4 of known size.
        kernel_size: Taps `(vertical, horizontal)`.
        strides: Step `(vertical, horizontal)`.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: Distance of the taps `(vertical, horizontal)`.
        fill: Value of the pixels that `"same"` adds.

    Yields:
        Tensors of the height and width of the output.

    Raises:
        ValueError: If the image is smaller than the window.
    """
    rows, columns = spatial_axes(data_format)
    sizes = (inputs.shape[rows], inputs.shape[columns])
    spans = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation_rate, strict=True)]
    if padding == "same":
        pads = [same_pads(*args) for args in zip(sizes, spans, strides, strict=True)]
        widths = [(0, 0)] * 4
        widths[rows], widths[columns] = pads
        inputs = ops.pad(inputs, widths, constant_values=fill)
        sizes = [n + sum(pad) for n, pad in zip(sizes, pads, strict=True)]
    if any(n < span for n, span in zip(sizes, spans, strict=True)):
        raise ValueError(
            f"The image must be at least as large as the window, {spans[0]}×{spans[1]} pixels; "
            f"received shape {tuple(inputs.shape)}."
        )
    reach = [(n - span) // s * s + 1 for n, span, s in zip(sizes, spans, strides, strict=True)]

    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            top, left = i * dilation_rate[0], j * dilation_rate[1]
            down = slice(top, top + reach[0], strides[0])
            across = slice(left, left + reach[1], strides[1])
            yield inputs[:, down, across, :] if rows == 1 else inputs[:, :, down, across]
