"""A functional model as a list of calls."""

import dataclasses
import functools
from typing import Any

import keras

from kdl.data.model_info import ModelInfo
from kdl.graph.kinds import kind_of


@dataclasses.dataclass(frozen=True)
class Node:
    """One call of a layer or an operation.

    Attributes:
        operation: The layer or operation, built.
        args: Its positional arguments, KerasTensors among them.
        kwargs: Its keyword arguments.
        results: Its outputs, as a list of KerasTensors.
        name: Name of the operation in this graph.
        masked: Whether Keras attached a mask to what it gives, for the next layers and the loss.
    """

    operation: Any
    args: tuple
    kwargs: dict
    results: list
    name: str
    masked: bool = False

    @property
    def kind(self):
        """The operation's kind, as `kind_of` gives it."""
        return kind_of(self.operation)

    @functools.cached_property
    def inputs(self):
        """Its KerasTensors, in order."""
        return tensors_in((self.args, self.kwargs))


@dataclasses.dataclass(frozen=True)
class Graph:
    """The calls of a model in the order in which Keras makes them.

    A pass takes a graph and gives another one; `read_graph` reads a model, `rebuild` makes one.

    Attributes:
        name: Name of the model.
        inputs: Its inputs, in the structure in which the model takes them.
        outputs: Its outputs, likewise.
        nodes: The calls.
        info: The `kdl.data.ModelInfo` that the model remembers.
        output_names: Names of its outputs if they are a list, in their order; None otherwise.
    """

    name: str
    inputs: Any
    outputs: Any
    nodes: list[Node]
    info: ModelInfo
    output_names: list[str] | None = None

    def consumers(self):
        """Dict: id of a tensor → the nodes that read it; model outputs count as None."""
        found = {id(x): [] for x in keras.tree.flatten(self.inputs)}
        for node in self.nodes:
            found.update({id(x): [] for x in node.results})
        for node in self.nodes:
            for x in node.inputs:
                found[id(x)].append(node)
        for x in keras.tree.flatten(self.outputs):
            found[id(x)].append(None)
        return found

    def producers(self):
        """Dict: id of a tensor → the node that made it; inputs of the model have none."""
        return {id(x): node for node in self.nodes for x in node.results}

    def calls(self):
        """Dict: id of an operation → number of its calls."""
        count = {}
        for node in self.nodes:
            count[id(node.operation)] = count.get(id(node.operation), 0) + 1
        return count

    def in_order(self):
        """The same graph in Keras's order, without calls that no output needs."""
        return dataclasses.replace(self, nodes=calls_before(self.outputs, self.producers()))


def tensors_in(structure):
    """The KerasTensors in a structure, in order."""
    return [x for x in keras.tree.flatten(structure) if keras.backend.is_keras_tensor(x)]


def calls_before(outputs, producers):
    """The nodes that tensors come from, in the order in which Keras runs a model of them.

    Nodes far from the outputs come first; all calls of one operation count as far as the farthest.

    Args:
        outputs: Structure of KerasTensors.
        producers: Dict: id of a tensor → the node that made it; for inputs there is none.
    """
    depths, operation_depths = {}, {}  # ids of nodes and of operations → distance from the outputs
    nodes = _inputs_first(outputs, producers)
    for node in reversed(nodes):
        farthest = operation_depths.get(id(node.operation), 0)
        depth = max(depths.setdefault(id(node), 0), farthest)
        depths[id(node)] = operation_depths[id(node.operation)] = depth
        for before in _nodes_before(node, producers):
            depths[id(before)] = max(depth + 1, depths.get(id(before), 0))
    by_id = {id(node): node for node in nodes}
    return [by_id[key] for key in sorted(depths, key=lambda key: -depths[key])]


def _nodes_before(node, producers):
    return [producers[id(x)] for x in node.inputs if id(x) in producers]


def _inputs_first(outputs, producers):
    """The nodes that tensors come from, depth first, each after those that it reads."""
    order, seen = [], set()
    for output in keras.tree.flatten(outputs):
        # Without recursion, which ends at some thousand layers.
        waiting = [(producers.get(id(output)), False)]
        while waiting:
            node, is_ready = waiting.pop()
            if is_ready:
                order.append(node)
            elif node is not None and id(node) not in seen:
                seen.add(id(node))
                waiting.append((node, True))
                waiting += [(before, False) for before in reversed(_nodes_before(node, producers))]
    return order
