"""A functional model as a list of calls, to be read and rebuilt."""

import dataclasses

import keras

from kdl._compat import mark_dense, operations_before
from kdl.data.model_info import ModelInfo, get_model_info, set_model_info
from kdl.graph.replay import fresh_input, replay


@dataclasses.dataclass(frozen=True)
class Node:
    """One call of a layer or an operation.

    Attributes:
        operation: The layer or operation.
        args: Its positional arguments, KerasTensors among them.
        kwargs: Its keyword arguments.
        outputs: What it gave.
    """

    operation: object
    args: tuple
    kwargs: dict
    outputs: object

    @property
    def kind(self):
        """The operation's kind, as `kind_of` gives it."""
        return kind_of(self.operation)

    @property
    def inputs(self):
        """Its KerasTensors, in order."""
        leaves = keras.tree.flatten((self.args, self.kwargs))
        return [x for x in leaves if keras.backend.is_keras_tensor(x)]

    @property
    def results(self):
        """Its outputs as a list."""
        return keras.tree.flatten(self.outputs)


@dataclasses.dataclass(frozen=True)
class Graph:
    """The calls of a model in an order in which they can be made.

    Attributes:
        name: Name of the model.
        inputs: Its inputs, in the structure in which the model takes them.
        outputs: Its outputs, likewise.
        nodes: The calls.
        info: The `kdl.data.ModelInfo` that the model remembers.
    """

    name: str
    inputs: object
    outputs: object
    nodes: list
    info: ModelInfo

    def readers(self):
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

    def makers(self):
        """Dict: id of a tensor → the node that made it; inputs of the model have none."""
        return {id(x): node for node in self.nodes for x in node.results}

    def calls(self):
        """Dict: id of an operation → number of its calls."""
        count = {}
        for node in self.nodes:
            count[id(node.operation)] = count.get(id(node.operation), 0) + 1
        return count


def read_graph(model):
    """`Graph` of a flat functional model; its layers are those of the model."""
    nodes = []

    def see(operation, *args, **kwargs):
        outputs = operation(*args, **kwargs)
        nodes.append(Node(operation, args, kwargs, outputs))
        return outputs

    again = replay(model, call=see)
    return Graph(model.name, again.input, again.output, nodes, get_model_info(model))


def rebuild(graph, apply, begin=None):
    """A model of the same calls, each made by `apply`.

    Args:
        graph: `Graph`.
        apply: Called as `apply(node, args, kwargs)` with the new arguments; gives new outputs.
        begin: Called with each old input and the new one; gives what the calls see instead.

    Returns:
        A `keras.Model` with new inputs of the same names.
    """
    fresh = keras.tree.map_structure(fresh_input, graph.inputs)
    new = {}
    for old, x in zip(keras.tree.flatten(graph.inputs), keras.tree.flatten(fresh), strict=True):
        new[id(old)] = begin(old, x) if begin else x

    def renew(structure):
        return keras.tree.map_structure(lambda x: new.get(id(x), x), structure)

    for node in graph.nodes:
        outputs = apply(node, renew(node.args), renew(node.kwargs))
        for old, x in zip(node.results, keras.tree.flatten(outputs), strict=True):
            if not old.sparse:
                mark_dense([x])
            new[id(old)] = x
    model = make_model(fresh, renew(graph.outputs), name=graph.name)
    set_model_info(model, graph.info)
    return model


def make_model(inputs, outputs, name=None):
    """A `keras.Model`, whose operations get other names where two have one.

    Keras numbers the names that it gives from the start in each process, so that those of a model
    that was loaded come a second time.
    """
    operations = operations_before(keras.tree.flatten(outputs))
    layers_first = sorted(operations, key=lambda x: not isinstance(x, keras.layers.Layer))
    taken = {x.name for x in keras.tree.flatten(inputs)}
    for operation in layers_first:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        while operation.name in taken:
            operation.name += "_"
        taken.add(operation.name)
    return keras.Model(inputs, outputs, name=name)


def kind_of(operation):
    """Name of an operation's class; with its module, if that is neither Keras nor kdl.

    A class of your own may be called as one of Keras's, and compute otherwise. So does a layer that
    Keras has quantized: its kind tells that.
    """
    kind = type(operation)
    if is_foreign(operation):
        return f"{kind.__module__}.{kind.__name__}"
    mode = getattr(operation, "quantization_mode", None)
    return f"{kind.__name__} (quantized to {mode})" if mode else kind.__name__


def is_foreign(operation):
    """Whether an operation's class is neither Keras's nor kdl's."""
    return type(operation).__module__.partition(".")[0] not in ("keras", "kdl")


def is_float(x):
    """Whether a KerasTensor holds floating-point numbers."""
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))
