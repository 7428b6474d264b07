"""Convolutions and dense layers in forms that a device takes."""

import keras

from kdl.graph import copy_layer, copy_weights
from kdl.graph.copy_weights import set_weights, stored_weights
from kdl.ops.channels import channel_axis


def strided_pointwise(node, view):
    """Tell if a 1×1 convolution has strides."""
    layer = node.operation
    return tuple(layer.kernel_size) == (1, 1) and max(layer.strides) > 1


def sliced_pointwise(node, args, view):
    """A slice with steps, then the convolution without strides."""
    layer = node.operation
    steps = [slice(None, None, step) for step in layer.strides]
    last = channel_axis(layer.data_format) == -1
    index = (slice(None), *steps) if last else (slice(None), slice(None), *steps)

    conv = view.once("", lambda name: copy_layer(layer, name=name, strides=1))
    outputs = conv(args[0][index])
    copy_weights(layer, conv)
    return outputs


def on_pixels(node, view):
    """Tell if a dense layer acts on the pixels of images."""
    return len(node.inputs[0].shape) == 4


def pixelwise(node, args, view):
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

    conv = view.once("", make)
    outputs = conv(args[0])
    kernel, *bias = stored_weights(layer)
    set_weights(conv, [kernel[None, None], *bias])
    return outputs
