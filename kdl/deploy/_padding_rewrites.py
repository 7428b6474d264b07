"""Padding apart from what a mobile GPU would compute in one with it, and wrong."""

from keras import ops

from kdl.compression._elementary import ALMOST_ONE, activation_name, is_number

# Padding by numbers of this size stands for −∞, and drowns what is added to it.
_LARGEST_FILLING = 1e6

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D", "GroupedConv2D")


def averages_padding(node, view):
    """Whether an average reads what a pad puts around."""
    return _pad_before(node, view) is not None


def pools_padding(node, view):
    """Whether a maximum may be what a pad puts around."""
    pad = _pad_before(node, view)
    if pad is None or _filling(pad) < -_LARGEST_FILLING:
        return False
    return _filling(pad) > 0 or not _ends_in_relu(view.makers.get(id(pad.inputs[0])))


def is_convolved(node, view):
    """Whether a pad puts another number than zero around what a convolution reads."""
    readers = [reader for reader in view.readers[id(node.results[0])] if reader]
    convolved = any(reader.kind in _CONVOLUTIONS for reader in readers)
    return convolved and 0 < abs(_filling(node)) <= _LARGEST_FILLING


def padded_by_zeros(node, args, view):
    """The pad by zeros of what is so much less, and then so much more."""
    pad, filling = node.operation, _filling(node)
    return ops.add(ops.pad(ops.subtract(args[0], filling), pad.pad_width), filling)


def _pad_before(node, view):
    """The pad of an image that this call reads, or None."""
    maker = view.makers.get(id(node.inputs[0]))
    return maker if maker is not None and maker.kind in ("Pad", "ZeroPadding2D") else None


def _filling(pad):
    """The number that a pad puts around; 0 if it is computed, since no form is known then."""
    number = pad.kwargs.get("constant_values")
    return number if is_number(number) else 0


def _ends_in_relu(node):
    return node is not None and (
        node.kind in ("Relu", "Relu6") or activation_name(node.operation) in ("relu", "relu6")
    )


def apart_from_padding(node, args, view):
    """The same with a product between, which is not computed in one with the pad."""
    return node.operation(ops.multiply(args[0], ALMOST_ONE), *args[1:])
