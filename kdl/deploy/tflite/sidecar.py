"""JSON sidecar of a `.tflite` file: all that an application must know of it."""

import hashlib
import json
import os

import numpy as np

from kdl._files import write_whole
from kdl._typing import Path
from kdl.deploy.tflite.file import (
    damage_named,
    parse_tflite,
    read_tflite,
    signature_tensors,
    type_name,
)
from kdl.deploy.tflite.metadata import find_info, read_metadata


def write_sidecar(path: Path) -> str:
    """Writes `model.tflite.json` beside `model.tflite`: all that its user must know.

    The keys are `name`, `file`, `bytes`, `sha256`, `kind` (float32, float16, dynamic, int8 or
    int16), `inputs`, `outputs` and `labels`. An input or output has `name`, `shape`, `dtype` and
    `quantization` (`scale` and `zero_point`, so that `real = scale · (stored − zero_point)`, or
    null). An input that is an image has `layout`, `color`, `mean`, `std` (in units of [0, 1]
    pixels: `(x / 255 − mean) / std`) and `range`, the least and the largest real number that this
    gives. The file is written as a whole or left as it was.

    Args:
        path: The `.tflite` file.

    Returns:
        Path of the sidecar.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
        OSError: If the sidecar cannot be written.
        ImportError: If `ai-edge-litert` is missing.

    Example:
        >>> import json, kdl, pathlib, shutil, tempfile
        >>> files = pathlib.Path(kdl.__file__).parents[1] / "saved_models" / "quickstart"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_sidecar(shutil.copy(files / "int8.tflite", folder))
        ...     content = json.loads(pathlib.Path(path).read_text())
        >>> content["kind"], content["inputs"][0]["shape"], content["outputs"][0]["name"]
        ('int8', [1, 48, 48, 3], 'probabilities')
    """
    path = os.fspath(path)
    target = f"{path}.json"
    with damage_named(path):
        text = json.dumps(_describe(path), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(target, f"{text}\n")
    return target


def _describe(path):
    summary, model, info = read_tflite(path), parse_tflite(path), find_info(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    inputs, outputs = signature_tensors(model)
    described = [_tensor(name, tensor) for name, tensor in inputs.items()]
    place = None
    if info.input_spec is not None:
        place = info.input_spec.place_among([one["shape"][1:] for one in described])
    if place is not None:
        described[place] |= _image(info.input_spec)
    name = os.path.basename(path)
    return {
        "name": read_metadata(path).get("name") or os.path.splitext(name)[0],
        "file": name,
        "bytes": summary.size,
        "sha256": digest,
        "kind": summary.quantization,
        "inputs": described,
        "outputs": [_tensor(name, tensor) for name, tensor in outputs.items()],
        "labels": info.labels,
    }


def _tensor(name, tensor):
    quantization = tensor.quantization
    scales = None if quantization is None else quantization.scale
    stored = scales is not None and len(scales) == 1
    return {
        "name": name,
        "shape": [int(n) for n in tensor.shape],
        "dtype": type_name(tensor).lower(),
        "quantization": {
            "scale": float(scales[0]),
            "zero_point": int(quantization.zeroPoint[0]),
        }
        if stored
        else None,
    }


def _image(spec):
    mean, std = np.array(spec.mean), np.array(spec.std)
    limits = [float(((0 - mean) / std).min()), float(((1 - mean) / std).max())]
    return {
        "layout": "NHWC",
        "color": "grey" if spec.channels == 1 else spec.color,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "range": limits,
    }
