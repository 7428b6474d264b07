"""Padding in a form that a device computes right, or fast."""

import numpy as np
from keras import ops

from kdl.compression.quantization._activations import ENDING_IN_ACTIVATION, activation_name
from kdl.compression.quantization._operations import ALMOST_ONE, is_number
from kdl.ops.channels import channel_axis

# Padding by numbers of this size stands for −∞, and drowns what is added to it.
_LARGEST_FILLING = 1e6

_LOWEST = float(np.finfo("float32").min)

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D", "GroupedConv2D")
_MAXIMA = ("MaxPool", "MaxPooling2D")


def averages_padding(node, view):
    """Tell if an average reads what a pad puts around."""
    return _pad_before(node, view) is not None


def pools_padding(node, view):
    """Tell if a maximum may be what a pad puts around."""
    pad = _pad_before(node, view)
    if pad is None or _filling(pad) < -_LARGEST_FILLING:
        return False
    return _filling(pad) > 0 or not _ends_in_relu(_producer_of(pad, view))


def is_convolved(node, view):
    """Tell if a pad puts another number than zero around what a convolution reads."""
    consumers = [consumer for consumer in view.consumers[id(node.results[0])] if consumer]
    convolved = any(consumer.kind in _CONVOLUTIONS for consumer in consumers)
    return convolved and 0 < abs(_filling(node)) <= _LARGEST_FILLING


def padded_by_zeros(node, args, view):
    """The pad by zeros of what is so much less, and then so much more."""
    pad, filling = node.operation, _filling(node)
    return ops.add(ops.pad(ops.subtract(args[0], filling), pad.pad_width), filling)


def only_maxima_see(node, view):
    """Tell if maxima alone read what a pad puts around: zeros, around no number below zero.

    Each maximum must be over a number of the image, too.
    """
    consumers = view.consumers[id(node.results[0])]
    seen = all(consumer is not None and consumer.kind in _MAXIMA for consumer in consumers)
    zeros = getattr(node.operation, "mode", "constant") == "constant" and _filling(node) == 0
    if not (seen and zeros and _ends_in_relu(_producer_of(node, view))):
        return False
    widths = np.broadcast_to(_widths(node.operation), (len(node.inputs[0].shape), 2))
    return all(_reaches_beyond(consumer.operation, widths) for consumer in consumers)


def _reaches_beyond(pool, widths):
    """Tell if no window of a pooling lies in what a pad puts around alone."""
    if pool.padding != "valid":  # which puts more around
        return False
    size = [1] * len(widths)
    first = len(widths) - 2 if channel_axis(pool.data_format) == 1 else 1
    sides = pool.pool_size
    size[first : first + 2] = [sides] * 2 if isinstance(sides, int) else sides
    return bool(np.all(widths.max(axis=1) < size))


def padded_by_lowest(node, args, view):
    """The pad by the lowest number there is."""
    return ops.pad(args[0], _widths(node.operation), constant_values=_LOWEST)


def _widths(pad):
    if not hasattr(pad, "padding"):
        return pad.pad_width
    none, sides = (0, 0), tuple(pad.padding)
    last = channel_axis(pad.data_format) == -1
    return (none, *sides, none) if last else (none, none, *sides)


def _producer_of(node, view):
    return view.producers.get(id(node.inputs[0]))


def _pad_before(node, view):
    """The pad of an image that this call reads, or None."""
    producer = _producer_of(node, view)
    return producer if producer is not None and producer.kind in ("Pad", "ZeroPadding2D") else None


def _filling(pad):
    """The number that a pad puts around; 0 if it is computed, since no form is known then."""
    number = pad.kwargs.get("constant_values")
    return number if is_number(number) else 0


def _ends_in_relu(node):
    if node is None:
        return False
    if node.kind == "ReLU":
        return node.operation.negative_slope == 0 and node.operation.threshold >= 0
    if node.kind in ENDING_IN_ACTIVATION:
        return activation_name(node.operation) in ("relu", "relu6")
    return node.kind in ("Relu", "Relu6")


def apart_from_padding(node, args, view):
    """The same with a product between, which is not computed in one with the pad."""
    return node.operation(ops.multiply(args[0], ALMOST_ONE), *args[1:])
