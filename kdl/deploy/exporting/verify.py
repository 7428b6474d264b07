"""Compare the outputs of a `.tflite` file with those of its model."""

from typing import Any

import keras

from kdl._deprecation import renamed_argument
from kdl._typing import Path
from kdl._words import unique_names
from kdl.data._class_numbers import class_numbers
from kdl.data.model_info import ModelInfo, get_model_info
from kdl.data.reading import samples_of_model
from kdl.deploy.exporting._data import VERIFICATION_SAMPLES, may_name
from kdl.deploy.exporting.accuracy import measure_accuracy
from kdl.deploy.exporting.output_comparison import compare_output, sqnr
from kdl.deploy.exporting.precision import as_float32
from kdl.deploy.exporting.reference_outputs import check_copy, outputs_of
from kdl.deploy.exporting.signature import named_inputs, output_kinds, output_names, output_paths
from kdl.deploy.exporting.tolerances import TOLERANCES, Tolerances
from kdl.deploy.exporting.verification import Verification
from kdl.deploy.runtime.runner import TFLiteRunner
from kdl.deploy.tflite.file import parsed_once, read_tflite
from kdl.deploy.tflite.metadata import find_info


@renamed_argument("gates", "tolerances")
def verify_tflite(
    path: Path, model: keras.Model, data: Any, tolerances: Tolerances | None = None
) -> Verification:
    """Runs a `.tflite` file in the LiteRT interpreter and compares it with its Keras model.

    The Keras model is run on the current backend, in float32 whatever its dtype policy. Integer
    inputs and outputs are converted by the file's own scales. Every output is judged by itself, and
    what is not finite fails.

    Args:
        path: The file.
        model: The Keras model that it was exported from.
        data: Inputs as an array `(samples, …)`, or as the dict or list that a model of several
            takes; a pair `(inputs, labels)`, the labels as integers, one-hot rows or label maps
            `(samples, height, width)`; or a data set, as `kdl.data.read_samples` takes them, of
            which 1,000 samples are used. Inputs of model and file are matched by name. With labels
            the accuracy of both is measured, and the mean IoU of label maps; it is left out, with a
            warning, if the data set names classes that the file does not have, or the model, if
            the file has no names.
        tolerances: `Tolerances` to apply; by default those of the file's kind, for each output:
            float32 SQNR ≥ 100 dB and error ≤ 1e-4 of the range, float16 ≥ 45 dB, dynamic ≥ 25 dB,
            int16 ≥ 20 dB, int8 ≥ 15 dB, both with the same class on 95 % of the inputs. Channels
            of boxes, maps and features have a gate of their own.

    Returns:
        `Verification`; look at `passed` and `failures`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or the data does not fit it or was read for another.
        ImportError: If `ai-edge-litert` is missing.
    """
    with parsed_once():
        summary = read_tflite(path)
        info = _info(path, model)
        samples = samples_of_model(data, model, VERIFICATION_SAMPLES).matched(info)
        inputs = inputs_of_file(model, samples.inputs)
        runner = TFLiteRunner(path, input_shape=_shapes(inputs) if summary.open_sizes else None)
    labels = class_numbers(samples.labels)
    actual = runner.predict(inputs)
    expected = _reference_outputs(model, samples.inputs, runner)
    form = summary.quantization
    names, kinds = runner.output_names, kinds_in_file(model, runner)
    tolerances = tolerances or TOLERANCES[form]
    classes = info.labels and len(info.labels)
    return compare_outputs(path, form, expected, actual, labels, tolerances, names, kinds, classes)


def _info(path, model):
    """Classes and images as the file tells them, or else as the model remembers them."""
    told, remembered = find_info(path), get_model_info(model)
    labels = remembered.labels
    if labels is not None and not may_name(labels, model):
        labels = None
    return ModelInfo(
        labels if told.labels is None else told.labels, told.input_spec or remembered.input_spec
    )


def compare_outputs(
    path, quantization, expected, actual, labels, tolerances, names=None, kinds=None, classes=None
):
    """Measures two lists of output arrays against each other, as a `Verification`.

    Args:
        path: The file.
        quantization: What it holds: a key of `TOLERANCES`.
        expected: The model's outputs, arrays `(samples, …)`.
        actual: The file's, in the same order.
        labels: Integers `(samples,)`, label maps `(samples, height, width)`, or None.
        tolerances: `Tolerances`.
        names: Name of each output; numbers by default.
        kinds: Kind of each output as in `OutputComparison`; None, for one or for all, for what
            the array looks like.
        classes: Number of classes that have names; None if it is not known.

    Raises:
        ValueError: If there are not the same outputs on both sides, or the label maps fit none.
    """
    names = unique_names(["output"] * len(expected)) if names is None else names
    kinds = [None] * len(expected) if kinds is None else kinds
    _check_same_form(path, expected, actual, names, kinds)
    maps = labels is not None and labels.ndim > 1
    outputs = []
    for name, kind, y, z in zip(names, kinds, expected, actual, strict=True):
        has_classes = maps and y.ndim == 4 and y.shape[-1] > 1
        outputs.append(compare_output(name, y, z, tolerances, kind, has_classes))
    return Verification(
        path=str(path),
        quantization=quantization,
        samples=len(expected[0]),
        outputs=tuple(outputs),
        **measure_accuracy(path, outputs, expected, actual, labels, classes),
    )


def _check_same_form(path, expected, actual, names, kinds):
    if not len(expected) == len(actual) == len(names) == len(kinds) or not expected:
        raise ValueError(
            f"{path} gives {len(actual)} outputs where the model gives {len(expected)}: it was "
            f"exported from another model."
        )
    for one, other in zip(expected, actual, strict=True):
        if one.shape != other.shape:
            raise ValueError(
                f"{path} gives outputs of shape {other.shape} where the model gives {one.shape}: "
                f"it was exported from another model."
            )


def between_kernels(path, inputs):
    """SQNR in dB between the outputs of XNNPACK and of LiteRT's reference kernels for one file.

    They round integers otherwise at times. In a deep network such a step moves others, until its
    outputs are open by some dB, whatever the file is compared with.

    Args:
        path: The file.
        inputs: What `TFLiteRunner.predict` takes.

    Returns:
        Dict: name of an output → decibels; infinite if both give the same.
    """
    fast, plain = (TFLiteRunner(path, delegate=choice) for choice in (True, False))
    pairs = zip(fast.output_names, fast.predict(inputs), plain.predict(inputs), strict=True)
    return {name: sqnr(y.astype("float64"), z.astype("float64")) for name, y, z in pairs}


def _reference_outputs(model, inputs, runner):
    """Outputs of the Keras model in float32, in the order in which the file gives them."""
    reference = as_float32(model)
    if reference is not model:
        check_copy(model, inputs)
    return in_order_of_file(outputs_of(reference, inputs), model, runner)


def inputs_of_file(model, inputs):
    """The inputs of a model as `TFLiteRunner.predict` takes them for its file: matched by name.

    A single one stands alone, since it has another name in files that other tools wrote.
    """
    named = named_inputs(model, inputs)
    return named if len(named) > 1 else next(iter(named.values()))


def _shapes(inputs):
    if isinstance(inputs, dict):
        return {name: array.shape[1:] for name, array in inputs.items()}
    return inputs.shape[1:]


def in_order_of_file(outputs, model, runner):
    """A list of the model's `outputs`, in the order in which the file gives them."""
    found = {tuple(map(str, p)): y for p, y in keras.tree.flatten_with_path(outputs)}
    paths = output_paths(model)
    # A flat list, whatever structure the model has, is in the order of `output_names`.
    flat = [found[p] for p in paths] if set(found) == set(paths) else list(found.values())
    return [flat[place] for place in _places(model, runner)]


def kinds_in_file(model, runner):
    """Kind of each output that the model tells (see `output_kinds`), in the order of the file."""
    kinds = output_kinds(model)
    return [kinds[place] for place in _places(model, runner)]


def _places(model, runner):
    """For each output of the file, its place among the flattened outputs of the model."""
    names, theirs = output_names(model), runner.output_names
    if len(names) == len(theirs) == 1:
        return [0]
    if sorted(names) != sorted(theirs):
        raise ValueError(
            f"{runner.path} gives {theirs} where the model gives {names}: it was exported from "
            f"another model."
        )
    return [names.index(name) for name in theirs]
