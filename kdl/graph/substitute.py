"""Substitution of some calls of a graph by others."""

import dataclasses

import keras

from kdl.graph.graph import calls_before
from kdl.graph.read_graph import producers_of
from kdl.graph.replay import fresh_input


class Replacements:
    """Replacements of a graph's operations: one for each, however often it is called."""

    def __init__(self):
        self._made = {}  # id of an operation, part → (operation, what replaces it)

    def __call__(self, operation, make, part=""):
        """The replacement of `operation` for `part` of it, made by `make()` if there is none."""
        key = id(operation), part
        if key not in self._made:
            self._made[key] = operation, make()
        return self._made[key][1]

    def pairs(self):
        """List of the operations and their replacements."""
        return list(self._made.values())


def substitute(graph, replace):
    """A graph in which some calls are others; its tensors are its own.

    A shared layer's replacement stays shared.

    Args:
        graph: `Graph`.
        replace: Called as `replace(node, args, kwargs, once)` with the node's new arguments; gives
            the new outputs, which it makes of these by layers and operations, or None where the
            call stays. `once(part, make)` gives the layer that `make(name)` has made for this part
            of the node's layer, the name being that of both; `once.new(x)` the tensor that has come
            in place of one of `graph`.

    Returns:
        `Graph`. Layers in it are built; those that stay are those of `graph`.
    """
    replacements, new = Replacements(), Renewed(graph.inputs)
    nodes, known = [], {*map(id, keras.tree.flatten(new.inputs))}
    for node in graph.nodes:
        args, kwargs = new(node.args), new(node.kwargs)
        outputs = replace(node, args, kwargs, _Once(node, replacements, new))
        if outputs is None:
            results = [*map(symbol_like, node.results)]
            calls = [dataclasses.replace(node, args=args, kwargs=kwargs, results=results)]
        else:
            results = keras.tree.flatten(outputs)
            calls = calls_before(results, producers_of(results, known))
            calls = [_masked_like(node, call, results) for call in calls]
        nodes += calls
        known.update(id(x) for call in calls for x in call.results)
        new.add(node.results, results)
    outputs = new(graph.outputs)
    return dataclasses.replace(graph, inputs=new.inputs, outputs=outputs, nodes=nodes).in_order()


def _masked_like(node, call, results):
    """A call, masked as the node was that it is the last of the replacement of."""
    ends = any(x is y for x in call.results for y in results)
    return dataclasses.replace(call, masked=node.masked) if ends else call


class _Once:
    """Argument `once` of `replace` for a node."""

    def __init__(self, node, replacements, new):
        self._node, self._replacements, self.new = node, replacements, new

    def __call__(self, part, make):
        """The layer for a part of the node's layer, made if there is none."""
        node = self._node
        return self._replacements(node.operation, lambda: make(f"{node.name}{part}"), part)


class Renewed:
    """New tensors in place of a graph's.

    Args:
        inputs: The graph's inputs, which are made anew.

    Attributes:
        inputs: The new ones.
    """

    def __init__(self, inputs):
        self.inputs = keras.tree.map_structure(fresh_input, inputs)
        self._new = {}  # id of an old tensor → (old, new): none is freed, whose id another gets
        self.add(*map(keras.tree.flatten, (inputs, self.inputs)))

    def add(self, old, new):
        """Puts a list of tensors in place of another one."""
        self._new.update({id(x): (x, y) for x, y in zip(old, new, strict=True)})

    def __call__(self, structure):
        """A structure with new tensors in place of old ones."""
        return keras.tree.map_structure(lambda x: self._new.get(id(x), (x, x))[1], structure)


def symbol_like(tensor):
    """A symbolic tensor of the same shape and dtype that comes from nowhere."""
    return keras.KerasTensor(tensor.shape, dtype=tensor.dtype, sparse=tensor.sparse)
