"""Names under which a `.tflite` file takes its inputs and gives its outputs."""

import functools
import math
import operator

import keras

from kdl._compat import all_layers, call_of, inputs_of, operation_of
from kdl._words import unique_names
from kdl.compression.quantization._keep_mask import KeepMask
from kdl.deploy.tflite.tensor_names import input_name, kind_by_name, legal_name
from kdl.graph.read_graph import ends
from kdl.graph.saved_form import check_saved_form
from kdl.layers import FakeQuantize

INPUT_NAME = "image"

# What these give is neither scores of classes nor boxes, whatever its shape.
_NO_SCORES = (keras.layers.UnitNormalization, keras.layers.RNN, keras.layers.Bidirectional)

# Modes of Keras's quantize without a form in a file; that of int4 unpacks its weights to floats.
_NO_FILE = ("int8", "float8")

# Of a message of TensorFlow's, through which every converted model goes as float32.
_MOST_BYTES = 2**31 - 1


def input_names(model):
    """Names of the model's inputs in its file, in the order of `model.inputs`, no two alike.

    A single input is called `image`. Several keep their keys, those of nested dictionaries joined,
    or else the names of their input layers, in legal characters and numbered where they are alike.

    Args:
        model: A functional or sequential model.
    """
    if len(model.inputs) == 1:
        return [INPUT_NAME]
    paths = _paths(model, "input")
    pairs = zip(paths, model.inputs, strict=True)
    names = [_joined(p, "input") if _has_key(ends(model)[0], p) else x.name for p, x in pairs]
    # TensorFlow does not tell capital letters from small ones.
    return _unique(map(input_name, names), paths, str.lower)


def input_paths(model):
    """Keys and places under which the model takes its inputs, as tuples of text.

    Args:
        model: A functional or sequential model.
    """
    return _as_text(_paths(model, "input"))


def named_inputs(model, inputs):
    """Arrays or shapes of the model's inputs as a dict by their names in its file.

    Args:
        model: A functional or sequential model.
        inputs: What the model takes: an array, or a list or dict of them.
    """
    arrays = [functools.reduce(operator.getitem, p, inputs) for p in _paths(model, "input")]
    return dict(zip(input_names(model), arrays, strict=True))


def output_names(model):
    """Names of the model's outputs, one for each of its flattened outputs, no two alike.

    One output is called `probabilities` if it ends in softmax or sigmoid, `logits` if it is a row
    of numbers, and `features` otherwise. Several keep the keys or layer names they have. Keys of
    nested dictionaries and places in lists within them are joined: `boxes_p3`, `boxes_0`. Names
    that occur more than once are numbered: `lstm_0, lstm_1, lstm_2`. Characters that not every
    reader of a file takes are replaced.

    Args:
        model: A functional or sequential model.
    """
    paths = _keys(model)
    if any(paths):
        names = [_joined(path, "output") for path in paths]
        return _unique(map(legal_name, names), paths)
    if len(paths) > 1:
        return unique_names(legal_name(operation_of(_unrounded(x)).name) for x in model.outputs)
    if _activation(_last_operation(model, 0)) is not None:
        return ["probabilities"]
    return ["logits" if len(model.outputs[0].shape) == 2 else "features"]


def output_kinds(model):
    """Kinds of the model's outputs that their keys or last operations tell; None for the rest.

    Args:
        model: A functional or sequential model.
    """
    return [_kind(model, place, path) for place, path in enumerate(_keys(model))]


def output_paths(model):
    """Keys and places under which the model gives its flattened outputs, as tuples of text.

    Args:
        model: A functional or sequential model.
    """
    return _as_text(_paths(model, "output"))


def check_exportable(model):
    """Raises ValueError unless `model` has a graph, and files can hold it."""
    if isinstance(model, tuple | list):
        raise ValueError(
            f"Expected a keras.Model; received a {type(model).__name__} of {len(model)}. What "
            f"rewrite_for, calibrate, quantize_aware and others return is a pair: take its first, "
            f"as in `model, changes = kdl.deploy.rewrite_for(…)`."
        )
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            f"Expected a built functional or Sequential keras.Model; received "
            f"{type(model).__name__}. Wrap it: keras.Model(inputs, model(inputs))."
        )
    _check_precision(model)
    _check_states(model)
    size = 4 * sum(math.prod(variable.shape) for variable in model.variables)
    if size > _MOST_BYTES:
        raise ValueError(
            f"{model.name} has {size / 1e9:.2f} GB of weights in float32; TensorFlow's converter "
            f"takes 2.14. Export a smaller model, or its parts one by one."
        )
    _check_outputs(model)
    check_saved_form(model)


def _check_outputs(model):
    samples = tuple(model.inputs[0].shape[:1])
    for output in model.outputs:
        if tuple(output.shape[:1]) != samples or 0 in output.shape:
            raise ValueError(
                f"Every output must have the samples as its first axis, and elements; one of "
                f"{model.name} has shape {tuple(output.shape)}. Export a model without it."
            )


def _check_states(model):
    """Raises ValueError if a layer keeps what it saw for the next call, as no file does."""
    names = [layer.name for layer in all_layers(model) if getattr(layer, "stateful", False)]
    if names:
        raise ValueError(
            f"{', '.join(names)} of {model.name} keeps its states from call to call, which a file "
            f"cannot: make it with stateful=False, take its states as inputs (initial_state=…) and "
            f"give them as outputs (return_state=True)."
        )


def _check_precision(model):
    """Raises ValueError if Keras has quantized layers to a form that TFLite files do not have."""
    modes = {x.name: getattr(x.dtype_policy, "quantization_mode", None) for x in all_layers(model)}
    names = [name for name, mode in modes.items() if mode in _NO_FILE]
    if names:
        raise ValueError(
            f"{', '.join(names)} of {model.name} were quantized to {modes[names[0]]} by Keras's "
            f"quantize, which no TFLite operation computes. Export the model as it was before, as "
            f"quantization='int8' with representative_data."
        )


def _keys(model):
    """Keys in the name of each flattened output; empty where the outputs are a list, or one."""
    paths = _paths(model, "output")
    nested = any(len(path) > 1 for path in paths)
    keyed = nested or (any(paths) and isinstance(ends(model)[1], dict))
    return paths if keyed else [()] * len(paths)


def _paths(model, side):
    """Keys and places of the model's flattened inputs or outputs, as tuples."""
    structure = dict(zip(("input", "output"), ends(model), strict=True))[side]
    return [path for path, _ in keras.tree.flatten_with_path(structure)]


def _as_text(paths):
    return [tuple(map(str, path)) for path in paths]


def _has_key(structure, path):
    """Tell if a dictionary lies on a path, or only lists do."""
    for place in path:
        if isinstance(structure, dict):
            return True
        structure = structure[place]
    return False


def _unique(names, paths, fold=str):
    """Names, no two alike, numbered in the order of their paths.

    Keras sorts the keys of nested dictionaries on some backends only, and saves numbers as text.
    """
    keys = [[part.zfill(9) if part.isdigit() else part for part in p] for p in _as_text(paths)]
    places = sorted(range(len(keys)), key=keys.__getitem__)
    names = list(names)
    found = unique_names([names[place] for place in places], fold)
    return [name for _, name in sorted(zip(places, found, strict=True))]


def _joined(path, side):
    name = "_".join(map(str, path))
    return f"{side}_{name}" if str(path[0]).isdigit() else name


def _kind(model, place, path):
    kind = kind_by_name("_".join(map(str, path)))
    if kind is not None:
        return kind
    return "features" if isinstance(_last_operation(model, place), _NO_SCORES) else None


def _activation(operation):
    """Softmax or sigmoid, as the name of a class, if that is how an operation ends; or None."""
    if type(operation).__name__ in ("Softmax", "Sigmoid"):  # the layers, or keras.ops
        return type(operation).__name__
    activation = getattr(operation, "activation", None)
    if activation in (keras.activations.softmax, keras.activations.sigmoid):
        return activation.__name__.capitalize()
    return None


def _unrounded(tensor):
    """The tensor before it was quantized as in an int8 file."""
    while isinstance(operation_of(tensor), FakeQuantize):
        [tensor] = inputs_of(tensor)
    return tensor


def _computed(tensor):
    """The tensor of an output before it was quantized or got its name."""
    while isinstance(operation_of(tensor), FakeQuantize | keras.layers.Identity | KeepMask):
        tensor = inputs_of(tensor)[-1]
    return tensor


def _last_operation(model, place):
    """The operation that gives an output, in whatever model within the model."""
    output = _computed(model.outputs[place])
    operation = operation_of(output)
    if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        _, _, _, outputs = call_of(output)
        return _last_operation(operation, [x is output for x in outputs].index(True))
    return operation
