"""Activations, decomposed into operations of an int8 file."""

import keras
from keras import ops

from kdl.compression.quantization._operations import WEIGHTED
from kdl.graph import copy_layer, copy_weights

# Layers that end in their activation. That of others, such as an LSTM's, is applied inside.
ENDING_IN_ACTIVATION = {
    *WEIGHTED,
    "Activation",
    "CentralizedConv2D",
    "Conv1D",
    "Conv1DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "DepthwiseConv1D",
    "EinsumDense",
    "SeparableConv1D",
    "SeparableConv2D",
}

_KNOWN_ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": ops.relu,
    "relu6": ops.relu6,
    "leaky_relu": lambda x: ops.leaky_relu(x, 0.2),
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "softmax": ops.softmax,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "hard_sigmoid": lambda x: hard_sigmoid(x),
    "silu": lambda x: swish(x),
    "swish": lambda x: swish(x),
    "hard_silu": ops.hard_silu,
    "hard_swish": ops.hard_silu,
}


def activation_name(layer):
    """Name of a layer's activation; None if it is a function without one that Keras knows."""
    function = getattr(layer, "activation", None)
    if function is None:
        return "linear"
    name = getattr(function, "__name__", None)
    known = getattr(keras.activations, str(name), None)
    return name if known is function else None


def without_activation(layer, args, kwargs, once):
    """A layer without its activation, which comes after it."""
    if activation_name(layer) == "linear":
        return None
    inner = once("", lambda name: copy_layer(layer, activation=None, name=name))
    x = inner(*args, **kwargs)
    copy_weights(layer, inner)
    return apply_activation(layer, x, once)


def apply_activation(layer, x, once):
    """The activation of `layer`, applied to what it gives without."""
    name = activation_name(layer)
    if name in _KNOWN_ACTIVATIONS:
        return _KNOWN_ACTIVATIONS[name](x)
    function = layer.activation
    return once("_activation", lambda name: keras.layers.Activation(function, name=name))(x)


def decompose_activation(layer, args, kwargs, once):
    """An activation layer as an operation."""
    name = activation_name(layer)
    return _KNOWN_ACTIVATIONS[name](args[0]) if name in _KNOWN_ACTIVATIONS else None


def decompose_relu(layer, args, kwargs, once):
    """A ReLU layer as an operation, if there is one of its bounds."""
    if layer.threshold:
        return None
    if layer.negative_slope:
        return None if layer.max_value else ops.leaky_relu(args[0], layer.negative_slope)
    bounds = {None: ops.relu, 6: ops.relu6}
    return bounds[layer.max_value](args[0]) if layer.max_value in bounds else None


def decompose_leaky_relu(layer, args, kwargs, once):
    """A leaky ReLU layer as an operation."""
    return ops.leaky_relu(args[0], layer.negative_slope)


def decompose_softmax(layer, args, kwargs, once):
    """A softmax layer as an operation, if it is over the last axis."""
    plain = layer.axis in (-1, len(args[0].shape) - 1) and len(args) == 1 and not kwargs
    return ops.softmax(args[0]) if plain else None


def hard_sigmoid(x):
    """`relu6(x + 3) / 6`, as operations."""
    return ops.multiply(ops.relu6(ops.add(x, 3.0)), 1 / 6)


def swish(x):
    """`x · sigmoid(x)`, as operations."""
    return ops.multiply(x, ops.sigmoid(x))
