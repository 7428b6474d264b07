"""Reading of a functional model as a graph."""

import keras

from kdl._compat import call_of, mask_of, operation_of, runs_its_graph, structure_of_sequential
from kdl._words import unique_names
from kdl.data.model_info import get_model_info
from kdl.graph.graph import Graph, Node, calls_before, tensors_in
from kdl.graph.wrapper import is_wrapper, strip_first


def read_graph(model):
    """Reads the graph of a functional or Sequential model; nothing is called or copied.

    Args:
        model: The model.

    Returns:
        `Graph`, whose tensors, layers and operations are the model's own.

    Raises:
        ValueError: If the model is neither, or computes something beside its graph.
    """
    check_functional(model)
    inputs, outputs = ends(model)
    nodes = calls_before(outputs, producers_of(outputs))
    names = names_in_list(outputs)
    return Graph(model.name, inputs, outputs, nodes, get_model_info(model), names)


def names_in_list(outputs):
    """Names of several outputs in a list: of the operations that give them, numbered if alike.

    Args:
        outputs: Outputs in any structure; None for all that is no flat list of several.
    """
    several = isinstance(outputs, list | tuple) and len(outputs) > 1
    if not several or any(map(keras.tree.is_nested, outputs)):
        return None
    return unique_names(operation_of(x).name for x in outputs)


def producers_of(outputs, known=()):
    """Dict: id of a tensor → the node that made it, for all that some tensors come from.

    Args:
        outputs: Structure of KerasTensors.
        known: Ids of tensors before which nothing is looked for.
    """
    producers, waiting = {}, tensors_in(outputs)
    while waiting:
        tensor = waiting.pop()
        call = None if id(tensor) in producers or id(tensor) in known else call_of(tensor)
        if call is not None:
            operation, args, kwargs, results = call
            masked = any(mask_of(x) is not None for x in results)
            node = Node(operation, args, kwargs, results, operation.name, masked)
            producers.update({id(x): node for x in results})
            waiting += node.inputs
    return producers


def has_graph(model):
    """Tell if a model is functional or Sequential, whatever else it computes."""
    return isinstance(model, keras.Sequential) or hasattr(model, "operations")


def check_functional(model):
    """Raises ValueError unless a model computes its graph and nothing else."""
    if is_wrapper(model):
        raise ValueError(strip_first(model))
    if not has_graph(model):
        raise ValueError(
            f"{model.name} is a {type(model).__name__} whose graph is unknown: only functional and "
            f"Sequential models can be traced. Build it as keras.Model(inputs, outputs)."
        )
    if not runs_its_graph(model):
        raise ValueError(
            f"{model.name} is a {type(model).__name__}, which has a call of its own beside its "
            f"graph, and only that graph could be traced. Wrap it: keras.Model(inputs, "
            f"model(inputs))."
        )


def ends(model):
    """Inputs and outputs of a functional or Sequential model, in the structure that it takes."""
    if isinstance(model, keras.Sequential):
        return structure_of_sequential(model)
    return model.input, model.output
