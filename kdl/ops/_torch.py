"""PyTorch's operations on images with their channels last, without a copy of them.

An image `(batch, height, width, C)` whose axes are permuted is what PyTorch calls channels_last
memory, which its kernels take as it is. Keras copies it to channels-first memory and back around
every convolution and pool, which takes longer than many of the convolutions.
"""

from keras import ops

from kdl.ops._windows import same_pads

_LANES = 16  # of float32 in the widest vectors


def conv(inputs, kernel, strides, padding, data_format, dilation_rate, bias=None):
    """Convolution; the number of groups follows from the shapes.

    `padding` is Keras's, or the pixels `(vertical, horizontal)` that are added on both sides.
    """
    import torch

    x = _channels_first(ops.convert_to_tensor(inputs), data_format)
    weight = ops.convert_to_tensor(kernel).permute(3, 2, 0, 1)
    if data_format == "channels_last":
        weight = weight.contiguous(memory_format=torch.channels_last)
    groups = x.shape[1] // weight.shape[1]
    x, pads = _pad(x, weight.shape[2:], strides, padding, dilation_rate, 0.0)
    if _overruns(weight, strides) and pads == (0, 0):
        x, strides = x[:, :, :: strides[0], :: strides[1]], (1, 1)
    y = torch.nn.functional.conv2d(x, weight, bias, strides, pads, dilation_rate, groups)
    return _back(y, data_format)


def relu_in_place(x, max_value=None):
    """`min(max(x, 0), max_value)`, written over `x`, which nothing else may need."""
    import torch

    if max_value is None:
        return torch.relu_(x)
    return torch.nn.functional.hardtanh_(x, 0.0, max_value)


def max_pool(inputs, pool_size, strides, padding, data_format):
    """Maximum over windows."""
    import torch

    x = _channels_first(ops.convert_to_tensor(inputs), data_format)
    x, pads = _pad(x, pool_size, strides, padding, (1, 1), -torch.inf)
    return _back(torch.nn.functional.max_pool2d(x, pool_size, strides, pads), data_format)


def average_pool(inputs, pool_size, strides, padding, data_format):
    """Mean over windows, at the border over the pixels that are there."""
    import torch

    x = _channels_first(ops.convert_to_tensor(inputs), data_format)
    padded, pads = _pad(x, pool_size, strides, padding, (1, 1), 0.0)
    pool = torch.nn.functional.avg_pool2d
    if padded is x:
        return _back(pool(x, pool_size, strides, pads, count_include_pad=False), data_format)
    ones, _ = _pad(torch.ones_like(x[:1, :1]), pool_size, strides, padding, (1, 1), 0.0)
    return _back(pool(padded, pool_size, strides) / pool(ones, pool_size, strides), data_format)


def _overruns(weight, strides):
    """Tell whether oneDNN (3.12) would write past its buffers for the gradient of `weight`.

    It does for 1×1 kernels with a stride and fewer inputs than a vector has lanes, images with
    channels last: https://github.com/uxlfoundation/oneDNN/issues/6035. The kernel sees the same
    pixels if the others are taken away before.
    """
    return tuple(weight.shape[2:]) == (1, 1) and max(strides) > 1 and weight.shape[1] < _LANES


def _channels_first(x, data_format):
    return x.permute(0, 3, 1, 2) if data_format == "channels_last" else x


def _back(y, data_format):
    return y.permute(0, 2, 3, 1) if data_format == "channels_last" else y


def _pad(x, window, strides, padding, dilation_rate, fill):
    """`x`, and the pixels that the operation pads itself: both sides alike, or none."""
    if padding != "same":
        return x, (0, 0) if padding == "valid" else padding
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation_rate, strict=True)]
    rows, columns = map(same_pads, x.shape[2:], spans, strides)
    # A pool may pad by half a window at most, which is where both sides are alike.
    if rows[0] == rows[1] and columns[0] == columns[1]:
        return x, (rows[0], columns[0])
    import torch

    return torch.nn.functional.pad(x, (*columns, *rows), value=fill), (0, 0)
