"""Operations of an integer file that compute in floating point, and the layers they come from."""

import re

from kdl._compat import all_layers
from kdl.deploy.tflite.graph import read_operations
from kdl.deploy.tflite.tensor_names import legal_name

_NAMED = 5


def float_operations(path):
    """The operations of a `.tflite` file that compute in floating point, in order.

    Those that only convert are left out: QUANTIZE, DEQUANTIZE, and CAST of what goes in or out.

    Args:
        path: The file.

    Returns:
        List of `FileOperation`.
    """
    graph = read_operations(path)
    ends = {tensor.index for tensor in (*graph.inputs, *graph.outputs)}
    return [
        operation
        for operation in graph.operations
        if _computes(operation, ends) and any(_is_float(tensor) for tensor in operation.tensors)
    ]


def mixed_operations(path):
    """Names of the operations that compute with integers and floating-point numbers at once.

    The converter makes them at times where a part of an int8 model stays float, and no runtime can
    run them: LiteRT refuses them, or crashes. Integer weights of float operations are none.

    Args:
        path: The file.
    """
    found = []
    for operation in read_operations(path).operations:
        if operation.name in ("QUANTIZE", "DEQUANTIZE", "CAST"):
            continue
        computed = {tensor.type for tensor in (*operation.variables, *operation.outputs) if tensor}
        types = {tensor.type for tensor in operation.tensors}
        if "INT8" in computed and "FLOAT32" in types:
            found.append(operation.name)
    return list(dict.fromkeys(found))


def describe_float_operations(path, model):
    """The same in words, each with the layer of `model` that it comes from: `ELU (activation)`."""
    return _described(float_operations(path), model)


def describe_state(path, model):
    """Operations by which a file keeps a number that its outputs depend on, and their layers.

    Args:
        path: The file.
        model: The Keras model that it was made of.

    Returns:
        Text; empty if there are none.
    """
    graph = read_operations(path)
    writing = [x for x in graph.operations if x.name == "ASSIGN_VARIABLE"]
    return _described(writing, model) if writing and _reads_a_variable(graph) else ""


def _reads_a_variable(graph):
    """Whether an operation on the way to an output takes a variable."""
    wanted = {tensor.index for tensor in graph.outputs}
    ends = [x for x in graph.operations if x.graph == 0 and wanted & {y.index for y in x.outputs}]
    seen = set()
    while ends:
        operation = ends.pop()
        if operation.index in seen:
            continue
        seen.add(operation.index)
        if any(x is not None and x.type == "RESOURCE" for x in operation.inputs):
            return True
        ends.extend(x for x in operation.producers if x is not None)
    return False


def _described(operations, model):
    words = []
    for operation in operations:
        given = [x for x in (*operation.outputs, *operation.tensors) if x]
        layer = layer_of(given[0].name, model) if given else None
        words.append(f"{operation.name} ({layer})" if layer else operation.name)
    words = list(dict.fromkeys(words))
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return f"{', '.join(words[:_NAMED])}{more}"


def layer_of(path, model):
    """Name of the innermost layer of `model` on a path such as `functional/lstm_1/while`; or None.

    TensorFlow numbers the names of layers anew, so that the last number does not count.

    Args:
        path: Name of a tensor or an operation in TensorFlow's graph or in a file.
        model: A Keras model.
    """
    names = {legal_name(layer.name): layer.name for layer in all_layers(model)[1:]}
    for part in reversed(re.split("[/;:]", path)):
        for name in (re.sub(r"_\d+$", "", part), part):
            if name in names:
                return names[name]
    return None


def _computes(operation, ends):
    if operation.name == "CAST":
        return not ends & {tensor.index for tensor in operation.tensors}
    return operation.name not in ("QUANTIZE", "DEQUANTIZE")


def _is_float(tensor):
    return "FLOAT" in tensor.type
