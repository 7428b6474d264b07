"""The process in which TensorFlow turns a saved model into `.tflite` files."""

import os
import re
import warnings

import keras
import numpy as np

from kdl._process import WorkerDied, WorkerError
from kdl.deploy.exporting._custom_objects import describe_custom_objects
from kdl.deploy.exporting.float_operations import mixed_operations
from kdl.deploy.exporting.signature import input_names, input_paths, output_names, output_paths
from kdl.deploy.exporting.warm_converter import shared
from kdl.deploy.tflite.file import parse_tflite, read_tflite, scales_of
from kdl.graph.copy_model import is_portable, portable_copy
from kdl.graph.flatten import flatten
from kdl.graph.saved_form import told_twice

# A range of this many steps holds no numbers that a network computes with.
_LARGEST_SCALE = 1e30

_NO_TENSORFLOW = "No module named 'tensorflow'"


class ExportError(ValueError):
    """A model could not be turned into a faithful `.tflite` file; the message says why."""


def convert(model, targets, shapes, representative_data=None):
    """Converts `model` in a TensorFlow process of its own.

    Args:
        model: A functional or Sequential float32 model.
        targets: Dict: quantization → file to write.
        shapes: Dict: name of an input (see `input_names`) → its static shape, batch included.
        representative_data: Dict: name of an input → array, for int8 unless the model is quantized.

    Raises:
        ExportError: If there is no TFLite form of the model.
        ImportError: If TensorFlow is missing.
        OSError: If a file cannot be written.
    """
    with shared.get() as worker, worker.folder() as folder:
        saved = os.path.join(folder, "model.keras")
        _in_a_form_to_save(model).save(saved)
        job = {
            "model": saved,
            "targets": {kind: os.path.abspath(path) for kind, path in targets.items()},
            "inputs": _inputs(model, shapes),
            "output_names": output_names(model),
            "output_paths": output_paths(model),
            "representative_data": _save_arrays(representative_data, folder),
            "custom": _custom_objects(model, saved),
        }
        _run(worker, job)
    for path in targets.values():
        check_contents(path, list(shapes), output_names(model))


def _in_a_form_to_save(model):
    """A model with the same outputs under the same names, which Keras's files hold."""
    if told_twice(model):
        with warnings.catch_warnings():  # of parts that would be trained apart: a file is not
            warnings.simplefilter("ignore")
            return flatten(model)
    return model if is_portable(model) else portable_copy(model)


def _inputs(model, shapes):
    """Facts of each input for the process, in the order of `model.inputs`."""
    keys = zip(input_names(model), input_paths(model), model.inputs, strict=True)
    return [
        {
            "name": name,
            "path": path,
            "shape": shapes[name],
            "dtype": keras.backend.standardize_dtype(x.dtype),
        }
        for name, path, x in keys
    ]


def _run(worker, job):
    try:
        worker.ask(job)
    except WorkerError as error:
        if error.kind == "ImportError":
            raise _import_error(error.message) from error
        if error.kind == "OSError":
            raise OSError(f"Cannot write the file: {error.message}") from error
        if error.kind == "ExportError":
            raise ExportError(error.message) from error
        raise ExportError(_cause(error.kind, error.message)) from error
    except WorkerDied as error:
        if _NO_TENSORFLOW in str(error):
            raise _import_error(_NO_TENSORFLOW) from error
        raise ExportError(str(error)) from error


def _import_error(message):
    if _NO_TENSORFLOW in message:
        return ImportError(
            "Export runs TensorFlow's converter: pip install tensorflow ai-edge-litert flatbuffers"
        )
    return ImportError(message)


def _custom_objects(model, path):
    try:
        return describe_custom_objects(model, path)
    except ValueError as error:
        raise ExportError(str(error)) from error


def _cause(kind, message):
    """One paragraph out of a converter's exception."""
    missing = re.search(r"(?:TF Select|Flex|Custom) ops: ([^\n]+)", message)
    if missing:
        names = missing[1].strip().rstrip(".")
        return (
            f"TFLite has no built-in operation for {names}. Replace the layer that uses it, or "
            f"write it in terms of other operations."
        )
    return f"TensorFlow's converter refused the model ({kind}): {reason_in(message)[:600]}"


def reason_in(message):
    """The part of a message that tells the cause: where Keras and TensorFlow put it.

    Args:
        message: That of an exception.
    """
    message = re.sub(r"\x1b\[[0-9;]*m", "", message)
    _, inner, reason = message.rpartition("Exception encountered: ")
    if inner:  # Keras, of a configuration: before and after it stands the configuration
        message = reason.partition("Full object config")[0]
    elif message.lstrip().startswith("in user code:"):  # TensorFlow: a traceback, then the cause
        errors = list(re.finditer(r"^\s*\w*(Error|Exception): ", message, re.MULTILINE))
        message = message[errors[-1].start() :] if errors else message
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines[:3]) or "no message"


def check_contents(path, inputs, outputs):
    """Raises ExportError if a converted file has other ends, or holds what TFLite does not have.

    Args:
        path: The file.
        inputs: Names that its inputs must have.
        outputs: Names that its outputs must have.
    """
    try:
        summary = read_tflite(path)
    except ValueError as error:  # it names a draft, which is gone when this is read
        reason = str(error).replace(f"{path} ", "").replace(" Export it again.", "")
        raise ExportError(f"TensorFlow's converter wrote a file that {reason}") from error
    ends = {"inputs": (summary.inputs, inputs), "outputs": (summary.outputs, outputs)}
    for side, (found, expected) in ends.items():
        if sorted(found) != sorted(expected):
            raise ExportError(
                f"The converter gave the file the {side} {sorted(found)} where the model has "
                f"{sorted(expected)}."
            )
    custom = sorted(name for name in summary.operations if name.startswith("custom:"))
    if custom:
        raise ExportError(f"The file needs operations that TFLite does not have: {custom}.")
    _check_scales(path)
    mixed = mixed_operations(path)
    if mixed:
        raise ExportError(
            f"TensorFlow's converter wrote a file that no runtime runs: {', '.join(mixed)} in it "
            f"takes integers and floating-point numbers at once. That happens where an operation "
            f"that stays floating-point reads what is rounded: end the model before it, and export "
            f"that, or export as dynamic."
        )


def _check_scales(path):
    """Raises ExportError if a range was infinite: LiteRT may end the process that runs the file."""
    for graph in parse_tflite(path).subgraphs:
        for tensor in graph.tensors:
            scales = scales_of(tensor)
            if scales is not None and max(scales) > _LARGEST_SCALE:
                name = (tensor.name or b"").decode(errors="replace")
                raise ExportError(
                    f"The range of {name} is infinite on representative_data, as of images that "
                    f"are padded by -inf before a pooling, and has no int8 form. Pad by a number, "
                    f"such as -1e6, or export what kdl.compression.calibrate(model, data) gives, "
                    f"which leaves it in floating point."
                )


def _save_arrays(arrays, folder):
    """Dict: name of an input → file with its array; None if there are none."""
    if arrays is None:
        return None
    paths = {}
    for number, (name, array) in enumerate(arrays.items()):
        paths[name] = os.path.join(folder, f"representative_{number}.npy")
        np.save(paths[name], array)
    return paths
