"""The process in which TensorFlow turns a saved model into `.tflite` files."""

import json
import os
import re
import signal
import sys
import tempfile

import keras
import numpy as np

from kdl.deploy.signature import INPUT_NAME, output_names
from kdl.deploy.tflite_file import read_tflite
from kdl.deploy.warm_converter import run_worker

_NO_TENSORFLOW = "No module named 'tensorflow'"


class ExportError(ValueError):
    """A model could not be turned into a faithful `.tflite` file; the message says why."""


def convert(model, targets, input_shape, representative_data=None):
    """Converts `model` in a TensorFlow process of its own.

    Args:
        model: A functional or Sequential float32 model with one input.
        targets: Dict: quantization → file to write.
        input_shape: Static shape of the input, batch included.
        representative_data: Array of inputs, for int8 unless the model is quantised.

    Raises:
        ExportError: If there is no TFLite form of the model.
        ImportError: If TensorFlow is missing.
        OSError: If a file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="kdl-export-") as folder:
        saved = os.path.join(folder, "model.keras")
        model.save(saved)
        job = {
            "model": saved,
            "targets": {kind: os.path.abspath(path) for kind, path in targets.items()},
            "input_shape": input_shape,
            "input_dtype": keras.backend.standardize_dtype(model.inputs[0].dtype),
            "input_name": INPUT_NAME,
            "output_names": output_names(model),
            "representative_data": _save_array(representative_data, folder),
            "import": _modules(model),
            "report": os.path.join(folder, "report.json"),
        }
        _run_worker(job, folder)
    for path in targets.values():
        check_contents(path)


def _run_worker(job, folder):
    job_file = os.path.join(folder, "job.json")
    with open(job_file, "w") as file:
        json.dump(job, file)
    done = run_worker(job_file)
    if done.returncode == 0:
        return
    if os.path.exists(job["report"]):
        with open(job["report"]) as file:
            error = json.load(file)
        if error["type"] == "ImportError":
            raise _import_error(error["message"])
        if error["type"] == "OSError":
            raise OSError(f"Cannot write the file: {error['message']}")
        raise ExportError(_cause(error["type"], error["message"]))
    if _NO_TENSORFLOW in done.stderr:
        raise _import_error(_NO_TENSORFLOW)
    raise ExportError(_death(done))


def _import_error(message):
    if _NO_TENSORFLOW in message:
        return ImportError("Export runs TensorFlow's converter: pip install 'kdl[deploy]'")
    return ImportError(message)


def _cause(kind, message):
    """One paragraph out of a converter's exception."""
    missing = re.search(r"(?:TF Select|Flex|Custom) ops: ([^\n]+)", message)
    if missing:
        names = missing[1].strip().rstrip(".")
        return (
            f"TFLite has no built-in operation for {names}. Replace the layer that uses it, or "
            f"write it in terms of other operations."
        )
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    text = " ".join(lines[:3]) or "no message"
    return f"TensorFlow's converter refused the model ({kind}): {text[:600]}"


def _death(done):
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        hint = " It ran out of memory, perhaps." if name == "SIGKILL" else ""
        return f"The export process was ended by {name}.{hint}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    return f"The export process stopped with exit status {done.returncode}: {last[:600]}"


def check_contents(path):
    """Raises ExportError if a converted file holds operations that TFLite does not have."""
    summary = read_tflite(path)
    custom = sorted(name for name in summary.operations if name.startswith("custom:"))
    if custom:
        raise ExportError(f"The file needs operations that TFLite does not have: {custom}.")


def _save_array(array, folder):
    if array is None:
        return None
    path = os.path.join(folder, "representative.npy")
    np.save(path, array)
    return path


def _modules(model):
    """Modules that define the model's own layers, for the other process to import."""
    modules = {type(layer).__module__ for layer in _all_layers(model)}
    modules = sorted(name for name in modules if name.split(".")[0] not in ("keras", "kdl"))
    main = sys.modules.get("__main__")
    found = []
    for name in modules:
        if name == "__main__":
            found.append({"script": getattr(main, "__file__", None)})
        else:
            found.append({"module": name})
    return found


def _all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
