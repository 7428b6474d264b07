"""Convolutions in groups, as plain ones."""

import math

import keras
import numpy as np
from keras import ops

from kdl.compression.quantization._activations import activation_name
from kdl.graph import copy_layer
from kdl.graph.copy_layer import ADAPTERS
from kdl.graph.copy_weights import set_weights, stored_weights
from kdl.graph.rebuild import FORM_ARGUMENTS
from kdl.ops import mobile_gpu_safe
from kdl.ops.channels import channel_axis

# Narrower convolutions cost more in calls than the zeros between their groups do.
_NARROWEST = 16

# Activations that look at all channels of a pixel; one that Keras does not know may, too.
_OVER_CHANNELS = (None, "glu", "log_softmax", "softmax", "sparsemax")


def are_there(node, view):
    """Tell if a convolution has groups."""
    return node.operation.groups > 1


def are_unsafe(node, view):
    """Tell if mobile GPUs compute its groups wrong."""
    layer = node.operation
    pointwise = tuple(layer.kernel_size) == (1, 1)  # safe in float, never in int8
    return are_there(node, view) and (
        pointwise or not mobile_gpu_safe(layer.kernel.shape[2], layer.filters, layer.groups)
    )


def split(node, args, view):
    """A split, plain convolutions with zeros between narrow groups, a concatenation."""
    layer, axis = node.operation, channel_axis(node.operation.data_format)
    width = layer.kernel.shape[2]
    together = _groups_in_a_part(layer.groups, width)
    parts = layer.groups // together
    kernel, *bias = stored_weights(layer)
    kernels = np.split(kernel, parts, axis=-1)
    biases = np.split(bias[0], parts) if bias else [None] * parts
    images = ops.split(args[0], parts, axis=axis) if parts > 1 else [args[0]]
    apart = parts > 1 and activation_name(layer) in _OVER_CHANNELS
    settings = {"filters": layer.filters // parts, **({"activation": None} if apart else {})}
    convolved = []
    for number, (image, part, shift) in enumerate(zip(images, kernels, biases, strict=True)):
        conv = view.once(f"_part{number}", lambda name: _part(layer, settings, name))
        convolved.append(conv(image))
        dense = _block_diagonal(part, together)
        set_weights(conv, [dense] if shift is None else [dense, shift])
    outputs = keras.layers.Concatenate(axis=axis)(convolved) if parts > 1 else convolved[0]
    if not apart:
        return outputs

    def activation(name):
        return keras.layers.Activation(layer.activation, dtype=layer.dtype_policy, name=name)

    return view.once("_activation", activation)(outputs)


def _part(layer, settings, name):
    drop = (*ADAPTERS, *FORM_ARGUMENTS)
    return copy_layer(layer, keras.layers.Conv2D, drop=drop, name=name, groups=1, **settings)


def _groups_in_a_part(groups, width):
    wanted = math.ceil(_NARROWEST / width)
    return next(n for n in range(min(wanted, groups), 0, -1) if groups % n == 0)


def _block_diagonal(kernel, groups):
    *sides, width, filters = kernel.shape
    dense = np.zeros((*sides, groups * width, filters), kernel.dtype)
    each = filters // groups
    for n in range(groups):
        rows, columns = slice(n * width, (n + 1) * width), slice(n * each, (n + 1) * each)
        dense[..., rows, columns] = kernel[..., columns]
    return dense
