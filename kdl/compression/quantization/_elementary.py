"""A flat graph in the operations that devices know, one at a time."""

import functools
import itertools

import keras
import numpy as np
from keras import ops

from kdl import layers
from kdl.graph import copy_layer, copy_weights
from kdl.graph.copy_weights import set_weights
from kdl.graph.fold_batch_norm import affine_of, takes_up
from kdl.graph.read_graph import is_float, kind_of, read_graph, rebuild
from kdl.ops.adaptive_pooling import adaptive_windows

# Layers whose kernel is rounded.
WEIGHTED = ("Conv2D", "GroupedConv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense")

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
    - adaptive poolings are a pooling, or one for each window where these differ
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
        x = node.inputs[0]
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
    inner = once("", lambda name: copy_layer(layer, activation=None, name=name))
    x = inner(*args, **kwargs)
    copy_weights(layer, inner)
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
    set_weights(first, weights[:1])
    set_weights(second, weights[1:])
    first.trainable = second.trainable = layer.trainable
    return _apply_activation(layer, x, once)


def _batch_norm(layer, args, kwargs, once):
    return _affine(layer, args[0], *affine_of(layer), layer.axis, once)


def _constants(layer, args, kwargs, once):
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
    """Whether `Rescaling` takes a constant for a number, or for one of each last index."""
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


def _adaptive_pooling(pooling):
    """Rewrite of an adaptive pooling of images by `pooling`, a class of layers."""

    def rewrite(layer, args, kwargs, once):
        [x] = args
        axes = (2, 3) if layer.data_format == "channels_first" else (1, 2)
        sizes = [x.shape[axis] for axis in axes]
        if None in sizes:
            return None
        windows = [*map(adaptive_windows, sizes, layer.output_size)]

        def pool(images, size, strides, suffix):
            settings = {"data_format": layer.data_format, "dtype": layer.dtype_policy}

            def make(name):
                return pooling(size, strides, name=name, **settings)

            made, wanted = once(suffix, make), make(None)
            if (made.pool_size, made.strides) != (wanted.pool_size, wanted.strides):
                # A shared pooling has other windows for images of another size.
                made = once(f"{suffix}_of_{sizes[0]}_{sizes[1]}", make)
            return made(images)

        steps = [*map(_common_step, windows)]
        if None not in steps:
            size = tuple(stop - start for (start, stop), *_ in windows)
            return pool(x, size, tuple(steps), "")
        rows = [
            ops.concatenate(
                [
                    pool(
                        _cut(x, axes, (rows, columns)),
                        (rows[1] - rows[0], columns[1] - columns[0]),
                        1,
                        f"_{i}_{j}",
                    )
                    for j, columns in enumerate(windows[1])
                ],
                axis=axes[1],
            )
            for i, rows in enumerate(windows[0])
        ]
        return ops.concatenate(rows, axis=axes[0])

    return rewrite


def _common_step(windows):
    """The step from window to window, if they are of one size and evenly spaced; else None."""
    sizes = {stop - start for start, stop in windows}
    steps = {after - before for (before, _), (after, _) in itertools.pairwise(windows)}
    return max(steps or {1}) if len(sizes) == 1 and len(steps) < 2 and 0 not in steps else None


def _cut(x, axes, windows):
    index = [slice(None)] * len(x.shape)
    for axis, (start, stop) in zip(axes, windows, strict=True):
        index[axis] = slice(start, stop)
    return x[tuple(index)]


def _average(layer, args, kwargs, once):
    if not isinstance(layer, keras.layers.Layer):  # `keras.ops.average` is called so, too
        return None
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
    "AdaptiveAveragePooling2D": _adaptive_pooling(layers.AveragePooling2D),
    "AdaptiveMaxPooling2D": _adaptive_pooling(keras.layers.MaxPooling2D),
    "Average": _average,
    "TrueDivide": _divide,
    "Divide": _divide,
    "HardSigmoid": lambda operation, args, kwargs, once: _hard_sigmoid(args[0]),
    "Silu": lambda operation, args, kwargs, once: _swish(args[0]),
}
