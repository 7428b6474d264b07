"""Inlining of composite layers and nested models."""

import dataclasses

import keras

from kdl._compat import runs_its_graph
from kdl.graph.graph import calls_before
from kdl.graph.read_graph import check_functional, has_graph, producers_of, read_graph
from kdl.graph.substitute import Renewed, symbol_like
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
    for node in _Inliner(read_graph(model)).graph.nodes:
        outputs = node.results[0] if len(node.results) == 1 else node.results
        see(node.operation, node.args, outputs)


def inline(graph):
    """A graph with its composite layers and nested models inlined: plain layers and operations.

    Args:
        graph: `Graph`.

    Returns:
        `Graph` of the same layers, under unique names: those on the way to them, joined by
        underscores.

    Raises:
        ValueError: If a nested model is not functional.
    """
    return _Inliner(graph).graph.in_order()


class _Inliner:
    def __init__(self, graph):
        self._new = Renewed(graph.inputs)
        self._known = {*map(id, keras.tree.flatten(self._new.inputs))}
        self._names = {}  # id of an operation → its name; a shared one has that of its first call
        self._taken = set()
        self._nodes = []
        self._add(graph.nodes, "")
        self.graph = dataclasses.replace(
            graph, inputs=self._new.inputs, outputs=self._new(graph.outputs), nodes=self._nodes
        )

    def _add(self, nodes, prefix):
        for node in nodes:
            args, kwargs = self._new(node.args), self._new(node.kwargs)
            if _is_transparent(node.operation):
                results = self._enter(node, args, kwargs, prefix)
            else:
                results = [*map(symbol_like, node.results)]
                name = self._name(node.operation, prefix)
                self._nodes.append(
                    dataclasses.replace(node, args=args, kwargs=kwargs, results=results, name=name)
                )
                self._known.update(map(id, results))
            self._new.add(node.results, results)

    def _enter(self, node, args, kwargs, prefix):
        """The outputs of a composite layer or nested model, whose calls are added."""
        operation = node.operation
        masks = {}
        if isinstance(operation, keras.Model):
            check_functional(operation)
            masks = {"mask": kwargs["mask"]} if kwargs.get("mask") is not None else {}
        outputs = keras.tree.flatten(operation.call(*args, **masks))
        # PyTorch takes no dots; those in the name of an outermost model do not matter.
        name = operation.name.replace(".", "_")
        self._add(calls_before(outputs, producers_of(outputs, self._known)), f"{prefix}{name}_")
        return self._new(outputs)

    def _name(self, operation, prefix):
        if id(operation) not in self._names:
            name = prefix + operation.name
            while name in self._taken:
                name += "_"
            self._taken.add(name)
            self._names[id(operation)] = name
        return self._names[id(operation)]


def _is_transparent(operation):
    """Tell if a composite layer or a nested model is entered."""
    if isinstance(operation, keras.Model):
        return not has_graph(operation) or runs_its_graph(operation)
    return isinstance(operation, Block | ChannelShuffle)
