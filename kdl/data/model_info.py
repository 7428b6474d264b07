"""Class names and input scaling, carried inside the model's own file."""

import contextlib
import dataclasses
import json
import os
import zipfile

from kdl.data.input_spec import InputSpec

_ENTRY = "kdl.json"
LABELS_FILE = "labels.txt"


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What one needs beside the weights to use a classifier.

    Attributes:
        labels: Class names in the order of the outputs, or None.
        input_spec: `kdl.data.InputSpec`, which turns a picture into an input, or None.
    """

    labels: list | None = None
    input_spec: InputSpec | None = None


def write_model_info(path, info):
    """Adds `info` to a `.keras` or `.tflite` file.

    A `.keras` file is a ZIP archive; a `.tflite` file may have one at its end, which its readers
    skip. The class names stand alone in `labels.txt`, where TensorFlow Lite's tools look for them.

    Args:
        path: The file.
        info: `ModelInfo`.
    """
    if info.labels is None and info.input_spec is None:
        return
    spec = info.input_spec.to_dict() if info.input_spec else None
    labels = list(info.labels) if info.labels is not None else None
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_ENTRY, json.dumps({"labels": labels, "input_spec": spec}))
        if labels:
            archive.writestr(LABELS_FILE, "\n".join(labels) + "\n")


def read_model_info(path):
    """The `ModelInfo` kept in a `.keras` or `.tflite` file; an empty one if there is none.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file.")
    with contextlib.suppress(zipfile.BadZipFile, KeyError), zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read(_ENTRY))
        spec = content["input_spec"]
        return ModelInfo(content["labels"], InputSpec.from_dict(spec) if spec else None)
    return ModelInfo()
