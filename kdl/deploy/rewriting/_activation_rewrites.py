"""Activations in forms that a device takes."""

import keras
from keras import ops

from kdl.compression.quantization._activations import ENDING_IN_ACTIVATION, activation_name
from kdl.graph import copy_layer, copy_weights

_ACTIVATION_KINDS = {
    "gelu": ("Gelu",),
    "hard_silu": ("HardSilu",),
    "leaky_relu": ("LeakyRelu", "LeakyReLU"),
    "log_softmax": ("LogSoftmax",),
}


def acts(name):
    """Tell if a layer ends with the activation, or is its operation."""

    def needed(node, view):
        if node.kind in _ACTIVATION_KINDS.get(name, ()):
            return True
        return node.kind in ENDING_IN_ACTIVATION and _ends_in(node.operation, name)

    return needed


def _ends_in(layer, name):
    aliases = {"hard_swish": "hard_silu"}
    own = activation_name(layer)
    return aliases.get(own, own) == name


def with_activation(function):
    """Makes the layer without its activation, and `function(x, operation, layer)` after it."""

    def make(node, args, view):
        operation, x = node.operation, args[0]
        if getattr(operation, "activation", None) and node.kind != "Activation":
            linear = view.once("", lambda n: copy_layer(operation, name=n, activation=None))
            x = linear(x)
            copy_weights(operation, linear)
        return function(x, operation, lambda make, part="": view.once(f"_activation{part}", make))

    make.function = function
    return make


def hard_swish(x, operation, layer):
    """`x / 6 · relu6(x + 3)`."""
    # In any other order the converter makes it one HARD_SWISH again.
    return ops.multiply(ops.multiply(x, 1 / 6), ops.relu6(ops.add(x, 3.0)))


def sigmoid_gelu(x, operation, layer):
    """`x · sigmoid(1.702 x)`."""
    return ops.multiply(x, ops.sigmoid(ops.multiply(x, 1.702)))


def log_softmax(x, operation, layer):
    """`z + log(1 / sum(exp(z)))` with `z = x - max(x)`."""
    # The logarithm of softmax, and the difference to that of the sum, the converter makes one
    # LOG_SOFTMAX again. As the activation of a layer it is that of the last axis.
    axis = -1 if isinstance(operation, keras.layers.Layer) else operation.axis
    x = ops.subtract(x, ops.max(x, axis=axis, keepdims=True))
    total = ops.sum(ops.exp(x), axis=axis, keepdims=True)
    return ops.add(x, ops.log(ops.divide(1.0, total)))


def constant_prelu(x, operation, layer):
    """A PReLU with one constant slope."""
    slope = getattr(operation, "negative_slope", 0.2)
    axes = list(range(1, len(x.shape) - 1)) or None

    def make(name):
        start = keras.initializers.Constant(slope)
        return keras.layers.PReLU(start, shared_axes=axes, trainable=False, name=name)

    prelu, channels = layer(make), x.shape[-1]
    if prelu.built and prelu.alpha.shape[-1] != channels:  # a shared activation
        prelu = layer(make, f"_of_{channels}")
    return prelu(x)
