"""Batch normalisation as part of the convolution before it."""

import keras
import numpy as np

from kdl import layers
from kdl.graph import copy_layer
from kdl.graph.copy_layer import ADAPTERS
from kdl.graph.copy_model import keep_state
from kdl.graph.copy_weights import set_weights, stored_weights
from kdl.graph.flatten import flatten
from kdl.graph.read_graph import kind_of, read_graph, rebuild

# Class of Keras → axis of the output channels in the kernel; None: `(…, C, multiplier)`.
_CHANNEL_AXIS = {
    "Conv1D": -1,
    "Conv2D": -1,
    "Conv3D": -1,
    "Conv1DTranspose": -2,
    "Conv2DTranspose": -2,
    "Conv3DTranspose": -2,
    "Dense": -1,
    "DepthwiseConv1D": None,
    "DepthwiseConv2D": None,
    "SeparableConv1D": -1,
    "SeparableConv2D": -1,
}


def fold_batch_norm(model):
    """Multiplies batch normalisation into the layers before it; inference gives equal outputs.

    For a convolution or dense layer `y = w·x + b` with batch norm
    `z = γ·(y − μ) / √(v + ε) + β`, the new layer has

        w' = w · γ / √(v + ε),    b' = (b − μ) · γ / √(v + ε) + β

    for each output channel. A batch norm stays where nothing comes before it that could take it
    up: after an activation, a pooling, or a layer that is also read elsewhere.

    Args:
        model: A functional or Sequential model, built.

    Returns:
        A flat `keras.Model`, not compiled, with weights of its own. Its convolutions are kdl's,
        which compute as Keras's do but faster.

    Raises:
        ValueError: If the model is not functional.

    Source: Jacob et al. (arXiv 1712.05877), section 3.2.

    Example:
        >>> import kdl
        >>> model = kdl.applications.MobileNet(0.25, input_shape=(32, 32, 3), classes=10)
        >>> folded = fold_batch_norm(model)
        >>> any(isinstance(x, keras.layers.BatchNormalization) for x in folded.layers)
        False
    """
    graph = read_graph(flatten(model))
    norms = _foldable(graph)
    absorbed = {id(conv): norm for conv, norm in norms.values()}
    made = {}

    def apply(node, args, kwargs):
        if id(node.operation) in norms:
            return args[0]
        if not isinstance(node.operation, keras.layers.Layer):
            return node.operation(*args, **kwargs)
        if id(node.operation) not in made:
            made[id(node.operation)] = _twin(node.operation, absorbed.get(id(node.operation)))
        layer, weights = made[id(node.operation)]
        outputs = layer(*args, **kwargs)
        if weights is None:
            keep_state(node.operation, layer)
        else:
            set_weights(layer, weights)
        return outputs

    return rebuild(graph, apply)


def _foldable(graph):
    """Dict: id of a batch norm → (layer before it, batch norm)."""
    readers, makers, calls = graph.readers(), graph.makers(), graph.calls()
    found = {}
    for node in graph.nodes:
        if node.kind != "BatchNormalization":
            continue
        x = node.inputs[0]  # a mask that comes with it counts in training alone
        before = makers.get(id(x))
        if before is None or len(readers[id(x)]) > 1:
            continue
        alone = calls[id(node.operation)] == calls[id(before.operation)] == 1
        if alone and takes_up(before.operation, node.operation, len(x.shape)):
            found[id(node.operation)] = before.operation, node.operation
    return found


def takes_up(layer, norm, rank):
    """Whether a batch norm of tensors of this rank can be folded into `layer` before it."""
    if kind_of(layer) not in _CHANNEL_AXIS or not _is_linear(layer):
        return False
    channels_first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return norm.axis % rank == (1 if channels_first else rank - 1)


def _is_linear(layer):
    return layer.activation in (None, keras.activations.linear)


def _twin(layer, norm):
    """A layer like `layer` that also does what `norm` does, and its weights if it does."""
    kind = _fast_class(layer)
    if norm is None:
        return copy_layer(layer, kind), None
    return copy_layer(layer, kind, drop=ADAPTERS, use_bias=True), _folded(layer, norm)


def _fast_class(layer):
    """The class of kdl with the same results, where there is one."""
    if type(layer) is keras.layers.Conv2D:
        return layers.Conv2D if layer.groups == 1 else layers.GroupedConv2D
    if type(layer) is keras.layers.DepthwiseConv2D:
        return layers.DepthwiseConv2D
    return type(layer)


def _folded(layer, norm):
    scale, shift = affine_of(norm)
    weights = stored_weights(layer)
    bias = weights.pop() if layer.use_bias else 0.0
    *others, kernel = weights
    axis = _CHANNEL_AXIS[kind_of(layer)]
    shape = [1] * kernel.ndim
    if axis is None:
        shape[-2:] = kernel.shape[-2:]
    else:
        shape[axis] = -1
    return [*others, kernel * scale.reshape(shape), bias * scale + shift]


def affine_of(norm):
    """`(scale, shift)` of a batch norm in inference: `z = scale · y + shift`."""
    numpy = keras.ops.convert_to_numpy
    scale = 1 / np.sqrt(numpy(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = scale * numpy(norm.gamma)
    shift = -numpy(norm.moving_mean) * scale
    if norm.center:
        shift = shift + numpy(norm.beta)
    return scale, shift
