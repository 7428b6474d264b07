"""A functional model as a list of calls, to be read and rebuilt."""

import dataclasses

import keras


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
        """Name of the operation's class."""
        return type(self.operation).__name__

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
    """

    name: str
    inputs: object
    outputs: object
    nodes: list

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

    twin = keras.models.clone_model(model, clone_function=lambda x: x, call_function=see)
    return Graph(model.name, twin.input, twin.output, nodes)


def rebuild(graph, apply, begin=None):
    """A model of the same calls, each made by `apply`.

    Args:
        graph: `Graph`.
        apply: Called as `apply(node, args, kwargs)` with the new arguments; gives new outputs.
        begin: Called with each old input and the new one; gives what the calls see instead.

    Returns:
        A `keras.Model` with new inputs of the same names.
    """

    def fresh_input(x):
        return keras.Input(batch_shape=x.shape, dtype=x.dtype, name=_input_name(x))

    fresh = keras.tree.map_structure(fresh_input, graph.inputs)
    new = {}
    for old, x in zip(keras.tree.flatten(graph.inputs), keras.tree.flatten(fresh), strict=True):
        new[id(old)] = begin(old, x) if begin else x

    def renew(structure):
        return keras.tree.map_structure(lambda x: new.get(id(x), x), structure)

    for node in graph.nodes:
        outputs = apply(node, renew(node.args), renew(node.kwargs))
        for old, x in zip(node.results, keras.tree.flatten(outputs), strict=True):
            new[id(old)] = x
    return keras.Model(fresh, renew(graph.outputs), name=graph.name)


def copy_of(model):
    """A model of the same class with new layers and equal weights, not compiled."""
    copy = deserialized(model)
    copy.set_weights(model.get_weights())
    for old, new in zip(model.layers, copy.layers, strict=True):
        if not old.trainable:  # what the config of an application doesn't tell
            new.trainable = False
    return copy


def deserialized(model):
    """A model of the config of another, with new layers and new weights."""
    # Keras finds its own classes by itself. By name alone its layer Add would be taken for its
    # operation Add.
    kinds = {type(layer) for layer in model.layers}
    known = {kind.__name__: kind for kind in kinds if not kind.__module__.startswith("keras.")}
    config = keras.saving.serialize_keras_object(model)
    return keras.saving.deserialize_keras_object(config, custom_objects=known, safe_mode=False)


def is_float(x):
    """Whether a KerasTensor holds floating-point numbers."""
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))


def _input_name(x):
    return x.name.split(":")[0]
