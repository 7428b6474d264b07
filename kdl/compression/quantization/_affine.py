"""Per-channel scale and shift as a depthwise convolution."""

import keras
import numpy as np
from keras import ops

from kdl import layers
from kdl.graph.copy_weights import set_weights
from kdl.graph.fold_batch_norm import affine_of
from kdl.graph.kinds import is_float, kind_of


def decompose_batch_norm(layer, args, kwargs, once):
    """A batch norm of images as a depthwise convolution."""
    return _affine(layer, args[0], *affine_of(layer), layer.axis, once)


def decompose_constants(layer, args, kwargs, once):
    """A rescaling or normalization of images as a depthwise convolution."""
    pair = constants_of(layer, args[0].shape)
    return _affine(layer, args[0], *pair, -1, once) if pair else None


def constants_of(layer, shape):
    """`(scale, shift)` of a `Rescaling` or `Normalization` of the last axis; else None."""
    if kind_of(layer) == "Rescaling":
        pair = np.array(layer.scale), np.array(layer.offset)
        return pair if all(_is_for_channels(x, shape) for x in pair) else None
    if layer.invert or tuple(layer.axis) not in ((-1,), (len(shape) - 1,)):
        return None
    mean, variance = (np.ravel(ops.convert_to_numpy(x)) for x in (layer.mean, layer.variance))
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    return scale, -mean * scale


def _is_for_channels(constant, shape):
    """Tell if `Rescaling` takes a constant for a number, or for one of each last index."""
    if constant.size == 1 and constant.ndim < 2:
        return True
    last = keras.config.image_data_format() == "channels_last"
    return last and constant.shape == tuple(shape[-1:])


def _affine(layer, x, scale, shift, axis, once):
    """`scale · x + shift` for each channel of an image, as a depthwise convolution."""
    if len(x.shape) != 4 or axis % 4 not in (1, 3):
        return None
    settings = {
        "data_format": "channels_last" if axis % 4 == 3 else "channels_first",
        "dtype": layer.dtype_policy,
        # Constants, such as those of a Rescaling, are nothing to train.
        "trainable": layer.trainable and kind_of(layer) == "BatchNormalization",
    }
    channels = x.shape[axis]

    def make(name):
        return layers.DepthwiseConv2D(1, name=name, **settings)

    conv = once("", make)
    if conv.built and conv.kernel.shape[2] != channels:  # a shared rescaling has none of its own
        conv = once(f"_of_{channels}", make)
    if not is_float(x):
        x = ops.cast(x, layer.compute_dtype)
    outputs = conv(x)
    kernel, bias = (np.broadcast_to(a, (channels,)) for a in (scale, shift))
    set_weights(conv, [kernel.reshape(1, 1, channels, 1), bias])
    return outputs
