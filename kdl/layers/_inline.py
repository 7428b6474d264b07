"""The graph inside composite layers and nested models."""

import keras

from kdl.layers._block import Block
from kdl.layers.channel_shuffle import ChannelShuffle

_TRANSPARENT = (Block, ChannelShuffle, keras.Model)


def visit(model, see):
    """Calls `see(operation, args, outputs)` for each plain layer and operation, symbolically.

    Args:
        model: A functional or Sequential model.
        see: What is called; composite layers and nested models are entered instead.

    Raises:
        ValueError: If the model is not functional.
    """

    def apply(operation, *args, **kwargs):
        outputs = operation(*args, **kwargs)
        if isinstance(operation, _TRANSPARENT):
            visit(_graph_of(operation, *args), see)
        else:
            see(operation, args, outputs)
        return outputs

    keras.models.clone_model(functional(model), clone_function=_same, call_function=apply)


def inline(model, make_layer):
    """Rebuilds a functional model with its composite layers and nested models laid open.

    Args:
        model: A functional or Sequential model.
        make_layer: Called with each plain layer and its unique name (the names on the way to it,
            joined by underscores); returns the layer to put in its place.

    Returns:
        A `keras.Model` of plain layers and operations.

    Raises:
        ValueError: If the model is not functional.
    """
    return _rebuild(model, "", make_layer, {})


def _rebuild(model, prefix, make_layer, made):
    def clone(layer):
        if isinstance(layer, _TRANSPARENT) or not isinstance(layer, keras.layers.Layer):
            return layer
        if id(layer) not in made:  # a shared layer stays shared
            made[id(layer)] = make_layer(layer, prefix + layer.name)
        return made[id(layer)]

    def apply(operation, *args, **kwargs):
        if not isinstance(operation, _TRANSPARENT):
            return operation(*args, **kwargs)
        inner = _graph_of(operation, *args)
        return _rebuild(inner, f"{prefix}{operation.name}_", make_layer, made).call(*args)

    return keras.models.clone_model(functional(model), clone_function=clone, call_function=apply)


def _same(layer):
    return layer


def functional(model):
    """The model, or a Sequential one as a functional model of the same layers.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not hasattr(model, "operations"):
        raise ValueError(
            f"{model.name} is a {type(model).__name__} whose graph is unknown: only functional and "
            f"Sequential models can be laid open. Build it as keras.Model(inputs, outputs)."
        )
    return model


def _graph_of(operation, inputs):
    """The composite layer `operation` as a functional model."""
    if isinstance(operation, keras.Model):
        return operation
    symbols = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype), inputs
    )
    return keras.Model(symbols, operation.call(symbols), name=operation.name)
