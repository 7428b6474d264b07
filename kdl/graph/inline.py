"""The graph inside composite layers and nested models."""

import keras

from kdl._compat import runs_its_graph
from kdl.graph.copy_layer import copy_operation
from kdl.graph.replay import replay
from kdl.layers._block import Block
from kdl.layers.convolution.channel_shuffle import ChannelShuffle


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
        if _is_transparent(operation):
            visit(_graph_of(operation, *args), see)
        else:
            see(operation, args, outputs)
        return outputs

    replay(_as_functional(model), call=apply)


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
    return _Inliner(make_layer).rebuild(model, "")


class _Inliner:
    def __init__(self, make_layer):
        self._make_layer = make_layer
        self._made = {}  # id of an operation → (operation, its copy)
        self._names = set()

    def rebuild(self, model, prefix):
        def make(operation):
            if _is_transparent(operation):
                return operation
            if id(operation) not in self._made:  # a shared layer stays shared
                self._made[id(operation)] = operation, self._copy(operation, prefix)
            return self._made[id(operation)][1]

        def apply(operation, *args, **kwargs):
            if not _is_transparent(operation):
                return operation(*args, **kwargs)
            inner = _graph_of(operation, *args)
            # PyTorch takes no dots; those in the name of an outermost model do not matter.
            name = operation.name.replace(".", "_")
            return self.rebuild(inner, f"{prefix}{name}_").call(*args)

        return replay(functional(model), make=make, call=apply)

    def _copy(self, operation, prefix):
        name = self._unique(prefix + operation.name)
        if isinstance(operation, keras.layers.Layer):
            return self._make_layer(operation, name)
        return copy_operation(operation, name)

    def _unique(self, name):
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


def functional(model):
    """The model, or a Sequential one as a functional model of the same layers.

    Raises:
        ValueError: If it is neither, or computes something beside its graph.
    """
    if _has_graph(model) and not runs_its_graph(model):
        raise ValueError(
            f"{model.name} is a {type(model).__name__}, which has a call of its own beside its "
            f"graph, and only that graph could be laid open. Wrap it: keras.Model(inputs, "
            f"model(inputs))."
        )
    return _as_functional(model)


def _as_functional(model):
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not hasattr(model, "operations"):
        raise ValueError(
            f"{model.name} is a {type(model).__name__} whose graph is unknown: only functional and "
            f"Sequential models can be laid open. Build it as keras.Model(inputs, outputs)."
        )
    return model


def _has_graph(model):
    return isinstance(model, keras.Sequential) or hasattr(model, "operations")


def _is_transparent(operation):
    """Whether a composite layer or a nested model is entered."""
    if isinstance(operation, keras.Model):
        return not _has_graph(operation) or runs_its_graph(operation)
    return isinstance(operation, Block | ChannelShuffle)


def _graph_of(operation, inputs):
    """The composite layer `operation` as a functional model."""
    if isinstance(operation, keras.Model):
        return operation
    symbols = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype), inputs
    )
    return keras.Model(symbols, operation.call(symbols), name=operation.name)
