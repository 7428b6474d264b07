"""A flat graph in the operations that devices know, one at a time."""

import functools

import keras
import numpy as np
from keras import ops

from kdl import layers
from kdl.compression._graph import read_graph, rebuild
from kdl.compression.fold_batch_norm import affine_of, takes_up

# Layers whose kernel is rounded.
WEIGHTED = ("Conv2D", "GroupedConv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense")

# The least float32 above 1: a product by it changes nothing, and converters do not take it out.
ALMOST_ONE = 1 + 2**-23

_KNOWN_ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": ops.relu,
    "relu6": ops.relu6,
    "leaky_relu": lambda x: ops.leaky_relu(x, 0.2),
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "softmax": ops.softmax,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "hard_sigmoid": lambda x: _hard_sigmoid(x),
    "silu": lambda x: _swish(x),
    "swish": lambda x: _swish(x),
    "hard_silu": ops.hard_silu,
    "hard_swish": ops.hard_silu,
}


def elementary(model, keep=()):
    """Rewrites a flat model so that every rounding of an int8 file has a tensor of its own.

    - activations leave the layers that they belong to
    - hard-sigmoid is `relu6(x + 3) / 6`, swish `x · sigmoid(x)`
    - separable convolutions are a depthwise and a 1×1 convolution
    - batch norms, rescalings and normalisations that stand alone are depthwise 1×1 convolutions
    - averages are a sum and a product, quotients by numbers are products
    - what joins three tensors or more joins them one after the other

    What it does not know is left as it is.

    Args:
        model: The flat model.
        keep: Names of classes that are left as they are, too.

    Returns:
        A functional model with equal outputs in inference.
    """
    graph = read_graph(model)
    folds_later = norms_after_convolutions(graph)
    made = {}

    def apply(node, args, kwargs):
        layer = node.operation

        def once(suffix, make):
            """The part of `layer` of this name; a shared layer's parts are shared."""
            if (id(layer), suffix) not in made:
                made[id(layer), suffix] = make(f"{layer.name}{suffix}")
            return made[id(layer), suffix]

        as_it_is = id(layer) in folds_later or node.kind in keep
        rewrite = None if as_it_is else _REWRITES.get(node.kind)
        outputs = rewrite(layer, args, kwargs, once) if rewrite else None
        return layer(*args, **kwargs) if outputs is None else outputs

    return rebuild(graph, apply)


def norms_after_convolutions(graph):
    """Ids of the batch norms that the converter folds, as they come right after a convolution."""
    makers, readers = graph.makers(), graph.readers()

    def folds(node):
        [x] = node.inputs
        before = makers.get(id(x))
        if before is None or before.kind not in WEIGHTED or len(readers[id(x)]) > 1:
            return False
        return takes_up(before.operation, node.operation, len(x.shape))

    norms = [node for node in graph.nodes if node.kind == "BatchNormalization"]
    return {id(node.operation) for node in norms if folds(node)}


def activation_name(layer):
    """Name of a layer's activation; None if it is a function without one that Keras knows."""
    function = getattr(layer, "activation", None)
    if function is None:
        return "linear"
    name = getattr(function, "__name__", None)
    known = getattr(keras.activations, str(name), None)
    return name if known is function else None


def _without_activation(layer, args, kwargs, once):
    if activation_name(layer) == "linear":
        return None
    linear = {**layer.get_config(), "activation": None}
    inner = once("", lambda name: type(layer).from_config({**linear, "name": name}))
    x = inner(*args, **kwargs)
    inner.set_weights(layer.get_weights())
    return _apply_activation(layer, x, once)


def _apply_activation(layer, x, once):
    name = activation_name(layer)
    if name in _KNOWN_ACTIVATIONS:
        return _KNOWN_ACTIVATIONS[name](x)
    function = layer.activation
    return once("_activation", lambda name: keras.layers.Activation(function, name=name))(x)


def _activation(layer, args, kwargs, once):
    name = activation_name(layer)
    return _KNOWN_ACTIVATIONS[name](args[0]) if name in _KNOWN_ACTIVATIONS else None


def _relu_layer(layer, args, kwargs, once):
    if layer.threshold:
        return None
    if layer.negative_slope:
        return None if layer.max_value else ops.leaky_relu(args[0], layer.negative_slope)
    bounds = {None: ops.relu, 6: ops.relu6}
    return bounds[layer.max_value](args[0]) if layer.max_value in bounds else None


def _leaky_relu_layer(layer, args, kwargs, once):
    return ops.leaky_relu(args[0], layer.negative_slope)


def _softmax_layer(layer, args, kwargs, once):
    plain = layer.axis in (-1, len(args[0].shape) - 1) and len(args) == 1 and not kwargs
    return ops.softmax(args[0]) if plain else None


def _separable(layer, args, kwargs, once):
    shared = {"data_format": layer.data_format, "dtype": layer.dtype_policy}

    def depthwise(name):
        return layers.DepthwiseConv2D(
            layer.kernel_size,
            strides=layer.strides,
            padding=layer.padding,
            depth_multiplier=layer.depth_multiplier,
            dilation_rate=layer.dilation_rate,
            use_bias=False,
            depthwise_regularizer=layer.depthwise_regularizer,
            depthwise_constraint=layer.depthwise_constraint,
            name=name,
            **shared,
        )

    def pointwise(name):
        return layers.Conv2D(
            layer.filters,
            1,
            use_bias=layer.use_bias,
            kernel_regularizer=layer.pointwise_regularizer,
            kernel_constraint=layer.pointwise_constraint,
            bias_regularizer=layer.bias_regularizer,
            bias_constraint=layer.bias_constraint,
            name=name,
            **shared,
        )

    first, second = once("_depthwise", depthwise), once("_pointwise", pointwise)
    x = second(first(args[0]))
    weights = layer.get_weights()
    first.set_weights(weights[:1])
    second.set_weights(weights[1:])
    first.trainable = second.trainable = layer.trainable
    return _apply_activation(layer, x, once)


def _batch_norm(layer, args, kwargs, once):
    return _affine(layer, args[0], *affine_of(layer), layer.axis, once)


def _constants(layer, args, kwargs, once):
    pair = constants_of(layer, len(args[0].shape))
    return _affine(layer, args[0], *pair, -1, once) if pair else None


def constants_of(layer, rank):
    """`(scale, shift)` of a `Rescaling` or `Normalization` of the last axis; else None."""
    if type(layer).__name__ == "Rescaling":
        plain = np.isscalar(layer.scale) and np.isscalar(layer.offset)
        return (layer.scale, layer.offset) if plain else None
    if layer.invert or tuple(layer.axis) not in ((-1,), (rank - 1,)):
        return None
    mean, variance = (np.ravel(ops.convert_to_numpy(x)) for x in (layer.mean, layer.variance))
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    return scale, -mean * scale


def _affine(layer, x, scale, shift, axis, once):
    """`scale · x + shift` for each channel of an image, as a depthwise convolution."""
    if len(x.shape) != 4 or axis % 4 not in (1, 3):
        return None
    settings = {
        "data_format": "channels_last" if axis % 4 == 3 else "channels_first",
        "dtype": layer.dtype_policy,
        "trainable": layer.trainable,
    }
    conv = once("", lambda name: layers.DepthwiseConv2D(1, name=name, **settings))
    outputs = conv(x)
    channels = x.shape[axis]
    kernel, bias = (np.broadcast_to(a, (channels,)) for a in (scale, shift))
    conv.set_weights([kernel.reshape(1, 1, channels, 1), bias])
    return outputs


def _average(layer, args, kwargs, once):
    return ops.multiply(functools.reduce(ops.add, args[0]), 1 / len(args[0]))


def _pairwise(operation):
    def rewrite(layer, args, kwargs, once):
        several = isinstance(args[0], list | tuple) and len(args[0]) > 2
        return functools.reduce(operation, args[0]) if several else None

    return rewrite


def _divide(operation, args, kwargs, once):
    return ops.multiply(args[0], 1 / args[1]) if is_number(args[1]) else None


def _hard_sigmoid(x):
    return ops.multiply(ops.relu6(ops.add(x, 3.0)), 1 / 6)


def _swish(x):
    return ops.multiply(x, ops.sigmoid(x))


def is_number(x):
    """Whether `x` is a plain number."""
    return isinstance(x, int | float) and not isinstance(x, bool)


_REWRITES = {
    **dict.fromkeys(WEIGHTED, _without_activation),
    "Activation": _activation,
    "ReLU": _relu_layer,
    "LeakyReLU": _leaky_relu_layer,
    "Softmax": _softmax_layer,
    "SeparableConv2D": _separable,
    "BatchNormalization": _batch_norm,
    "Rescaling": _constants,
    "Normalization": _constants,
    "Add": _pairwise(ops.add),
    "Multiply": _pairwise(ops.multiply),
    "Maximum": _pairwise(ops.maximum),
    "Minimum": _pairwise(ops.minimum),
    "Average": _average,
    "TrueDivide": _divide,
    "Divide": _divide,
    "HardSigmoid": lambda operation, args, kwargs, once: _hard_sigmoid(args[0]),
    "Silu": lambda operation, args, kwargs, once: _swish(args[0]),
}
