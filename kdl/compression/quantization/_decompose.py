"""Decomposition of a graph into operations of an int8 file."""

import functools

import keras
from keras import ops

from kdl import layers
from kdl.compression.quantization._activations import (
    apply_activation,
    decompose_activation,
    decompose_leaky_relu,
    decompose_relu,
    decompose_softmax,
    hard_sigmoid,
    swish,
    without_activation,
)
from kdl.compression.quantization._affine import decompose_batch_norm, decompose_constants
from kdl.compression.quantization._operations import WEIGHTED, is_number
from kdl.compression.quantization._pooling import decompose_adaptive_pooling
from kdl.graph.copy_weights import set_weights
from kdl.graph.fold_batch_norm import is_foldable
from kdl.graph.kinds import own_dtype
from kdl.graph.substitute import substitute


def decompose(graph, keep=()):
    """Decomposes a graph into operations so that whatever an int8 file quantizes is a tensor.

    - activations leave the layers that they belong to
    - hard-sigmoid is `relu6(x + 3) / 6`, swish `x · sigmoid(x)`
    - separable convolutions are a depthwise and a 1×1 convolution
    - batch norms, rescalings and normalizations that stand alone are depthwise 1×1 convolutions
    - averages are a sum and a product, quotients by numbers are products
    - adaptive poolings are a pooling, or one for each window where these differ
    - what joins three tensors or more joins them one after the other

    What it does not know is left as it is.

    Args:
        graph: `Graph` of plain layers and operations.
        keep: Names of classes that are left as they are, too.

    Returns:
        `Graph` with equal outputs in inference.
    """
    folds_later = norms_after_convolutions(graph)

    def replace(node, args, kwargs, once):
        as_it_is = id(node.operation) in folds_later or node.kind in keep
        rewrite = None if as_it_is else _REWRITES.get(node.kind)
        return rewrite(node.operation, args, kwargs, once) if rewrite else None

    return substitute(graph, replace)


def norms_after_convolutions(graph):
    """Ids of the batch norms that the converter folds, as they come right after a convolution."""
    producers, consumers = graph.producers(), graph.consumers()

    def folds(node):
        x = node.inputs[0]
        before = producers.get(id(x))
        if before is None or before.kind not in WEIGHTED or len(consumers[id(x)]) > 1:
            return False
        return is_foldable(before.operation, node.operation, len(x.shape))

    norms = [node for node in graph.nodes if node.kind == "BatchNormalization"]
    return {id(node.operation) for node in norms if folds(node)}


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
    return apply_activation(layer, x, once)


def _average(layer, args, kwargs, once):
    if not isinstance(layer, keras.layers.Layer):  # `keras.ops.average` is called so, too
        return None
    return ops.multiply(_joined(keras.layers.Add, args[0]), 1 / len(args[0]))


def _pairwise(kind):
    def rewrite(layer, args, kwargs, once):
        several = isinstance(args[0], list | tuple) and len(args[0]) > 2
        return _joined(kind, args[0]) if several else None

    return rewrite


def _joined(kind, tensors):
    """Tensors, joined one after the other by Keras's layers, which also join their masks.

    These put axes that a tensor lacks after that of the samples, and so must all have them first.
    """
    rank = max(len(x.shape) for x in tensors)
    axes = [tuple(range(1, 1 + rank - len(x.shape))) for x in tensors]
    tensors = [ops.expand_dims(x, new) if new else x for x, new in zip(tensors, axes, strict=True)]
    return functools.reduce(lambda x, y: kind(dtype=own_dtype(x))([x, y]), tensors)


def _divide(operation, args, kwargs, once):
    return ops.multiply(args[0], 1 / args[1]) if is_number(args[1]) else None


_REWRITES = {
    **dict.fromkeys(WEIGHTED, without_activation),
    "Activation": decompose_activation,
    "ReLU": decompose_relu,
    "LeakyReLU": decompose_leaky_relu,
    "Softmax": decompose_softmax,
    "SeparableConv2D": _separable,
    "BatchNormalization": decompose_batch_norm,
    "Rescaling": decompose_constants,
    "Normalization": decompose_constants,
    "Add": _pairwise(keras.layers.Add),
    "Multiply": _pairwise(keras.layers.Multiply),
    "Maximum": _pairwise(keras.layers.Maximum),
    "Minimum": _pairwise(keras.layers.Minimum),
    "AdaptiveAveragePooling2D": decompose_adaptive_pooling(layers.AveragePooling2D),
    "AdaptiveMaxPooling2D": decompose_adaptive_pooling(keras.layers.MaxPooling2D),
    "Average": _average,
    "TrueDivide": _divide,
    "Divide": _divide,
    "HardSigmoid": lambda operation, args, kwargs, once: hard_sigmoid(args[0]),
    "Silu": lambda operation, args, kwargs, once: swish(args[0]),
}
