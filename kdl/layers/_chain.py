"""Layers that run one after the other.

In inference batch norm is folded into the convolution before it, which saves a pass over the image:

    γ · (K ∗ x − μ) / √(σ² + ε) + β  =  (s · K) ∗ x + (β − s · μ),    s = γ / √(σ² + ε)

On PyTorch, which runs each operation as it comes, what the compilers of TensorFlow and JAX do by
themselves is done here: zeros around an image are added by the convolution, and ReLU writes over
what was made for it alone. What Keras does around each call, which takes as long there as a small
convolution, is left out where it has nothing to do: no hook to call, no dtype to cast.
"""

import keras
from keras import ops

from kdl._compat import has_forward_hooks
from kdl.layers.convolution.conv2d import Conv2D
from kdl.layers.convolution.depthwise_conv2d import DepthwiseConv2D
from kdl.layers.convolution.grouped_conv2d import GroupedConv2D
from kdl.layers.normalization.batch_normalization import BatchNormalization
from kdl.ops import _torch
from kdl.ops.channels import channel_axis
from kdl.ops.convolution import conv
from kdl.ops.depthwise import depthwise_conv
from kdl.ops.grouped import grouped_conv
from kdl.ops.lowering import resolve_lowering

_CONVOLUTIONS = {
    Conv2D: conv,
    GroupedConv2D: grouped_conv,
    DepthwiseConv2D: depthwise_conv,
}

# On PyTorch their `call` alone, if what surrounds it has nothing to do.
_SIMPLE = (BatchNormalization, keras.layers.ReLU)


def build_chain(layers, shape):
    """Builds layers that run one after the other; returns the shape of what comes out."""
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return tuple(shape)


def run_chain(layers, x, training=None):
    """Runs layers one after the other; in export and in symbolic calls, each by itself."""
    if keras.backend.is_keras_tensor(x) or resolve_lowering("auto") != "auto":
        for layer in layers:
            x = _call(layer, x, training)
        return x
    on_torch = keras.backend.backend() == "torch"
    rest = list(layers)
    while rest:
        dtype = ops.dtype(x)  # a layer may have changed it
        pads = _take(rest, _pads_evenly, dtype) if on_torch else None
        convolution = _take(rest, _is_plain_conv, dtype)
        if convolution is None:
            x = _call(pads or rest.pop(0), x, training)
            continue
        folds = not training and dtype == "float32"
        norm = _take(rest, _is_norm, dtype) if folds else None
        if norm is None and not on_torch:
            x = convolution(x)
            continue
        kernel, bias = _fold(convolution, norm, dtype)
        if not on_torch:
            x = _convolve(convolution, x, kernel, bias)
            continue
        x = _convolve_on_torch(convolution, pads, x, kernel, bias)
        relu = _take(rest, _is_plain_relu, dtype) if norm is not None else None
        x = x if relu is None else _torch.relu_in_place(x, relu.max_value)
    return x


def _take(layers, fits, dtype):
    """Takes the first layer off the list if it fits, and nobody would miss its call."""
    return layers.pop(0) if layers and fits(layers[0]) and _is_bare(layers[0], dtype) else None


def _is_bare(layer, dtype):
    """Tell if a layer's call does no more than compute: no hooks, no casts, no added losses."""
    on_torch = keras.backend.backend() == "torch"
    if layer.activity_regularizer is not None or (on_torch and has_forward_hooks(layer)):
        return False
    return layer.compute_dtype == dtype


def _pads_evenly(layer):
    if type(layer) is not keras.layers.ZeroPadding2D:
        return False
    (top, bottom), (left, right) = layer.padding
    return top == bottom and left == right


def _is_plain_conv(layer):
    known = type(layer) in _CONVOLUTIONS
    return known and layer.lowering == "auto" and layer.activation is keras.activations.linear


def _is_norm(layer):
    return type(layer) is BatchNormalization and layer.scale and layer.center


def _is_plain_relu(layer):
    plain = type(layer) is keras.layers.ReLU
    return plain and layer.negative_slope == 0 and layer.threshold == 0


def _call(layer, x, training):
    on_torch = keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(x)
    bare = on_torch and type(layer) in _SIMPLE and _is_bare(layer, ops.dtype(x))
    call = layer.call if bare else layer
    if isinstance(layer, keras.layers.BatchNormalization | keras.layers.Dropout):
        return call(x, training=training)
    return call(x)


def _fold(layer, norm, dtype):
    """Kernel and bias of a convolution and the batch norm after it, if there is one."""
    kernel = ops.cast(layer.kernel, dtype)
    bias = ops.cast(layer.bias, dtype) if layer.use_bias else None
    if norm is None:
        return kernel, bias
    scale = ops.multiply(norm.gamma, ops.rsqrt(ops.add(norm.moving_variance, norm.epsilon)))
    mean = norm.moving_mean if bias is None else ops.subtract(norm.moving_mean, bias)
    bias = ops.subtract(norm.beta, ops.multiply(mean, scale))
    filters = kernel.shape[2:] if isinstance(layer, DepthwiseConv2D) else (kernel.shape[3],)
    return ops.multiply(kernel, ops.reshape(scale, filters)), bias


def _convolve(layer, x, kernel, bias):
    geometry = (layer.strides, layer.padding, layer.data_format, layer.dilation_rate)
    y = _CONVOLUTIONS[type(layer)](x, kernel, *geometry)
    last = channel_axis(layer.data_format) == -1
    return ops.add(y, ops.reshape(bias, (1, 1, 1, -1) if last else (1, -1, 1, 1)))


def _convolve_on_torch(layer, pads, x, kernel, bias):
    if isinstance(layer, DepthwiseConv2D):
        kernel = ops.reshape(kernel, (*kernel.shape[:2], 1, -1))
    padding = layer.padding
    if pads is not None and padding == "valid":
        padding = (pads.padding[0][0], pads.padding[1][0])
    elif pads is not None:
        x = pads(x)
    return _torch.conv(
        x, kernel, layer.strides, padding, layer.data_format, layer.dilation_rate, bias
    )
