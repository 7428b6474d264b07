"""Equal forms of layers and operations that a device takes, and when they are needed."""

import dataclasses
from collections.abc import Callable

import keras
from keras import ops

from kdl.compression.quantization._elementary import ENDING_IN_ACTIVATION, activation_name
from kdl.deploy.rewriting import _group_rewrites as groups
from kdl.deploy.rewriting import _padding_rewrites as padding
from kdl.deploy.rewriting import _shuffle_rewrites as shuffles
from kdl.graph import copy_layer, copy_weights
from kdl.graph.copy_weights import set_weights, stored_weights
from kdl.ops.channels import channel_axis


@dataclasses.dataclass(frozen=True)
class Form:
    """Another form of a layer or an operation.

    Attributes:
        kinds: Names of the classes that have it; empty for all.
        needed: Function of a `Node` and the `View` of its graph: whether the device needs it.
        make: Function of the node, its new arguments and the view; gives its new outputs.
        text: What it becomes.
        exact: Whether the outputs stay equal.
    """

    kinds: tuple
    needed: Callable
    make: Callable
    text: str
    exact: bool = True


class View:
    """What a form must know of the graph that is rebuilt.

    Args:
        graph: The `Graph`.
    """

    def __init__(self, graph):
        self.makers, self.readers = graph.makers(), graph.readers()
        self.new = {}  # id of an old tensor → the new one
        self._layers = {}

    def layer(self, layer, suffix, make):
        """The new layer of this name; that of a shared layer is shared."""
        key = id(layer), suffix
        if key not in self._layers:
            self._layers[key] = make(f"{layer.name}{suffix}")
        return self._layers[key]


def _strided_pointwise(node, view):
    layer = node.operation
    return tuple(layer.kernel_size) == (1, 1) and max(layer.strides) > 1


def _sliced_pointwise(node, args, view):
    """A slice with steps, then the convolution without strides."""
    layer = node.operation
    steps = [slice(None, None, step) for step in layer.strides]
    last = channel_axis(layer.data_format) == -1
    index = (slice(None), *steps) if last else (slice(None), slice(None), *steps)

    conv = view.layer(layer, "", lambda name: copy_layer(layer, name=name, strides=1))
    outputs = conv(args[0][index])
    copy_weights(layer, conv)
    return outputs


def _rejoined(node, view):
    """Whether an operation reads several parts of this split and nothing else."""
    own = {id(x) for x in node.results}
    readers = [reader for x in node.results for reader in view.readers[id(x)] if reader]
    return any(len({id(x) for x in r.inputs}) > 1 and _all_of(r, own) for r in readers)


def _all_of(node, ids):
    return all(id(x) in ids for x in node.inputs)


def _sliced(node, args, view):
    """A slice for each part of a split."""
    axis = node.operation.axis % len(args[0].shape)
    parts, start = [], 0
    for part in node.results:
        stop = start + part.shape[axis]
        index = tuple(slice(start, stop) if i == axis else slice(None) for i in range(axis + 1))
        parts.append(args[0][index])
        start = stop
    return parts


def _only_part(node, view):
    return len(node.results) == 1


def _whole(node, args, view):
    return [args[0]]


def _counts_from_end(node, view):
    axis = node.operation.axis
    return axis is not None and axis < 0


def _summed_from_front(node, args, view):
    axis = node.operation.axis % len(args[0].shape)
    return ops.cumsum(args[0], axis=axis, dtype=node.operation.dtype)


def _steps(node):
    """Steps of a slice of images over height and width alone; None for any other."""
    if len(node.args) != 2 or not isinstance(node.args[1], list | tuple) or len(node.inputs) != 1:
        return None
    index, rank = tuple(node.args[1]), len(node.args[0].shape)
    if rank != 4 or len(index) > 4 or not all(isinstance(part, slice) for part in index):
        return None
    steps = [part.step or 1 for part in index] + [1] * (4 - len(index))
    inner = [part for part in index[:1] + index[3:] if part != slice(None)]
    return None if inner or min(steps) < 1 else tuple(steps[1:3])


def _steps_over_pixels(node, view):
    return (_steps(node) or (1, 1)) != (1, 1)


def _pooled_slice(node, args, view):
    """The slice without steps, then a 1×1 pooling with strides."""
    index = tuple(slice(part.start, part.stop) for part in node.args[1])
    whole = all(part == slice(None) for part in index)
    x = args[0] if whole else args[0][index]
    pool = keras.layers.MaxPooling2D(
        1, strides=_steps(node), data_format="channels_last", name=f"{node.operation.name}_steps"
    )
    return pool(x)


def _on_pixels(node, view):
    return len(node.inputs[0].shape) == 4


def _pixelwise(node, args, view):
    """A 1×1 convolution with the kernel of a dense layer."""
    layer = node.operation

    def make(name):
        return keras.layers.Conv2D(
            layer.units,
            1,
            data_format="channels_last",
            activation=layer.activation,
            use_bias=layer.use_bias,
            dtype=layer.dtype_policy,
            trainable=layer.trainable,
            name=name,
        )

    conv = view.layer(layer, "", make)
    outputs = conv(args[0])
    kernel, *bias = stored_weights(layer)
    set_weights(conv, [kernel[None, None], *bias])
    return outputs


def _acts(name):
    """Whether a layer ends with the activation, or is its operation."""

    def needed(node, view):
        if node.kind in _ACTIVATION_KINDS.get(name, ()):
            return True
        return node.kind in ENDING_IN_ACTIVATION and _ends_in(node.operation, name)

    return needed


def _ends_in(layer, name):
    aliases = {"hard_swish": "hard_silu"}
    own = activation_name(layer)
    return aliases.get(own, own) == name


def _with(function):
    """Makes the layer without its activation, and `function(x, operation, layer)` after it."""

    def make(node, args, view):
        operation, x = node.operation, args[0]
        if getattr(operation, "activation", None) and node.kind != "Activation":
            linear = view.layer(operation, "", lambda n: copy_layer(operation, activation=None))
            x = linear(x)
            copy_weights(operation, linear)
        return function(x, operation, lambda make: view.layer(operation, "_activation", make))

    make.function = function
    return make


def _hard_swish(x, operation, layer):
    # In any other order the converter makes it one HARD_SWISH again.
    return ops.multiply(ops.multiply(x, 1 / 6), ops.relu6(ops.add(x, 3.0)))


def _sigmoid_gelu(x, operation, layer):
    return ops.multiply(x, ops.sigmoid(ops.multiply(x, 1.702)))


def _log_softmax(x, operation, layer):
    # The logarithm of softmax, and the difference to that of the sum, the converter makes one
    # LOG_SOFTMAX again. As the activation of a layer it is that of the last axis.
    axis = -1 if isinstance(operation, keras.layers.Layer) else operation.axis
    x = ops.subtract(x, ops.max(x, axis=axis, keepdims=True))
    total = ops.sum(ops.exp(x), axis=axis, keepdims=True)
    return ops.add(x, ops.log(ops.divide(1.0, total)))


def _constant_prelu(x, operation, layer):
    axes = list(range(1, len(x.shape) - 1)) or None
    slope = getattr(operation, "negative_slope", 0.2)

    def make(name):
        start = keras.initializers.Constant(slope)
        return keras.layers.PReLU(start, shared_axes=axes, trainable=False, name=name)

    return layer(make)(x)


_ACTIVATION_KINDS = {
    "gelu": ("Gelu",),
    "hard_silu": ("HardSilu",),
    "leaky_relu": ("LeakyRelu", "LeakyReLU"),
    "log_softmax": ("LogSoftmax",),
}

_CONVOLUTIONS = ("Conv2D", "GroupedConv2D")

_APART = "a product by 1 + 2⁻²³ after the padding"

FORMS = {
    "gpu": [
        Form(_CONVOLUTIONS, _strided_pointwise, _sliced_pointwise, "a slice with steps before it"),
        Form(
            ("AveragePool", "AveragePooling2D"),
            padding.averages_padding,
            padding.apart_from_padding,
            _APART,
        ),
        Form(
            ("MaxPool", "MaxPooling2D"), padding.pools_padding, padding.apart_from_padding, _APART
        ),
        Form(
            ("Pad",),
            padding.is_convolved,
            padding.padded_by_zeros,
            "x - c, padding by zeros, x + c",
        ),
        Form(_CONVOLUTIONS, groups.are_unsafe, groups.split, "split, convolutions, concatenation"),
        Form(
            shuffles.MOVES,
            shuffles.is_wide_shuffle,
            shuffles.reshaped_shuffle,
            "a shuffle of four axes",
        ),
        Form(("Split",), _only_part, _whole, "what it splits"),
        Form(("Split",), _rejoined, _sliced, "slices"),
        Form(("Cumsum",), _counts_from_end, _summed_from_front, "an axis counted from the front"),
        Form(
            (),
            _acts("log_softmax"),
            _with(_log_softmax),
            "z + log(1 / sum(exp(z)))",
        ),
    ],
    "edgetpu": [
        Form(_CONVOLUTIONS, groups.are_there, groups.split, "split, convolutions, concatenation"),
        Form(
            shuffles.MOVES,
            shuffles.is_shuffle,
            shuffles.convolved_shuffle,
            "a 1×1 permutation convolution",
        ),
        Form(("Dense",), _on_pixels, _pixelwise, "a 1×1 convolution"),
        Form(("GetItem",), _steps_over_pixels, _pooled_slice, "a 1×1 pooling with strides"),
        Form((), _acts("hard_silu"), _with(_hard_swish), "x / 6 · relu6(x + 3)"),
        Form((), _acts("leaky_relu"), _with(_constant_prelu), "PReLU with constant slopes"),
        Form((), _acts("gelu"), _with(_sigmoid_gelu), "x · sigmoid(1.702 x)", exact=False),
    ],
    "cpu": [
        Form(
            ("Pad", "ZeroPadding2D"),
            padding.only_maxima_see,
            padding.padded_by_lowest,
            "padding by the lowest number",
        ),
    ],
}
