"""Batch normalization folded into the layer before it."""

import keras
import numpy as np

from kdl import layers
from kdl.graph import copy_layer
from kdl.graph.copy_layer import ADAPTERS
from kdl.graph.copy_weights import set_weights, stored_weights
from kdl.graph.inline import inline
from kdl.graph.kinds import keras_class_of, kind_of
from kdl.graph.read_graph import read_graph
from kdl.graph.rebuild import FORM_ARGUMENTS, rebuild
from kdl.graph.substitute import substitute

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


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Multiplies batch normalization into the layers before it; inference gives equal outputs.

    For a convolution or dense layer `y = w·x + b` with batch norm
    `z = γ·(y − μ) / √(v + ε) + β`, the new layer has

        w' = w · γ / √(v + ε),    b' = (b − μ) · γ / √(v + ε) + β

    for each output channel. A batch norm stays where no layer comes before it into which
    it is foldable: after an activation, a pooling, or a layer that is also read elsewhere.

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
    return rebuild(fold(inline(read_graph(model))), copy=_fast_copy)


def fold(graph):
    """`fold_batch_norm` of a graph whose composite layers are inlined."""
    norms = _foldable(graph)
    absorbed = {id(conv): norm for conv, norm in norms.values()}

    def replace(node, args, kwargs, once):
        layer = node.operation
        if id(layer) in norms:
            return args[0]
        if id(layer) not in absorbed:
            return None
        folded = once("", lambda name: _folding_copy(layer, name))
        outputs = folded(*args, **kwargs)
        set_weights(folded, _folded(layer, absorbed[id(layer)]))
        return outputs

    return substitute(graph, replace)


def _foldable(graph):
    """Dict: id of a batch norm → (layer before it, batch norm)."""
    consumers, producers, calls = graph.consumers(), graph.producers(), graph.calls()
    found = {}
    for node in graph.nodes:
        if node.kind != "BatchNormalization":
            continue
        x = node.inputs[0]  # a mask that comes with it counts in training alone
        before = producers.get(id(x))
        if before is None or len(consumers[id(x)]) > 1:
            continue
        alone = calls[id(node.operation)] == calls[id(before.operation)] == 1
        if alone and is_foldable(before.operation, node.operation, len(x.shape)):
            found[id(node.operation)] = before.operation, node.operation
    return found


def is_foldable(layer, norm, rank):
    """Tell if a batch norm of tensors of this rank can be folded into `layer` before it."""
    if kind_of(layer) not in _CHANNEL_AXIS or not _is_linear(layer):
        return False
    channels_first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return norm.axis % rank == (1 if channels_first else rank - 1)


def _is_linear(layer):
    return layer.activation in (None, keras.activations.linear)


def _folding_copy(layer, name):
    """A layer like `layer` that can also do what a batch norm after it does."""
    drop = (*ADAPTERS, *FORM_ARGUMENTS)
    return copy_layer(layer, _fast_class(layer), drop=drop, use_bias=True, name=name)


def _fast_copy(layer, name):
    return copy_layer(layer, _fast_class(layer), drop=FORM_ARGUMENTS, name=name)


def _fast_class(layer):
    """The class of kdl with the same results, where there is one."""
    plain = keras_class_of(layer)
    if plain is keras.layers.Conv2D:
        return layers.Conv2D if layer.groups == 1 else layers.GroupedConv2D
    return layers.DepthwiseConv2D if plain is keras.layers.DepthwiseConv2D else plain


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
