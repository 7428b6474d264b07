"""Metadata in a `.tflite` file, for kdl and for TensorFlow Lite's own tools."""

import copy
import os
import zipfile

import numpy as np

from kdl._files import draft_of
from kdl._typing import Path
from kdl.data.archives import opened, read_entry
from kdl.data.model_info import LABELS_FILE, ModelInfo, read_model_info, write_model_info
from kdl.deploy.tflite._aligned_buffer import AlignedBuffer
from kdl.deploy.tflite._description import check_fits, describe
from kdl.deploy.tflite._told_info import labels_of, spec_of
from kdl.deploy.tflite.file import damage_named, parse_tflite, tflite_schema

_ENTRY = b"TFLITE_METADATA"


def write_metadata(path: Path, info: ModelInfo, name: str | None = None) -> None:
    """Writes class names and the input specification into a `.tflite` file.

    They go where each reader looks for them: into `kdl.json` and `labels.txt` in the archive at the
    end of the file, and into the entry `TFLITE_METADATA` of the model (schema "M001"), which
    MediaPipe and Android's tools read: size and colors of the image, mean and standard deviation
    in units of bytes, the range of the inputs, the role of `labels.txt`. What was there of these is
    replaced, and all else stays: operations, constants, other entries, other files of the archive.
    (MediaPipe's image tasks take files with float32 or uint8 inputs and refuse int8 ones, whatever
    the metadata says.)

    Args:
        path: The file; it is replaced as a whole or left as it is.
        info: `kdl.data.ModelInfo`.
        name: Name of the model. Defaults to that of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or `info` does not fit it: an image is one input alone.
        ImportError: If `ai-edge-litert` is missing.

    Example:
        >>> import kdl, pathlib, shutil, tempfile
        >>> files = pathlib.Path(kdl.__file__).parents[1] / "saved_models" / "quickstart"
        >>> names = "zero one two three four five six seven eight nine".split()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = shutil.copy(files / "int8.tflite", folder)
        ...     write_metadata(path, ModelInfo(names, kdl.data.InputSpec((48, 48))))
        ...     kdl.deploy.ImageClassifier(path).info.labels[7]
        'seven'
    """
    model = parse_tflite(path)
    check_fits(path, model, info)
    with damage_named(path):
        content = _with_metadata(model, describe(model, info, name or _stem(path)))
    others = _other_files(path)
    with draft_of(path) as draft:
        with open(draft, "wb") as file:
            file.write(content)
        if others:
            with zipfile.ZipFile(draft, "a") as archive:
                for entry, data in others:
                    archive.writestr(entry, data)
        write_model_info(draft, info)


def read_metadata(path):
    """The entry `TFLITE_METADATA` of a `.tflite` file as a dictionary; an empty one without it.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged.
        ImportError: If `ai-edge-litert` is missing.
    """
    from kdl.deploy.tflite import metadata_schema  # needs flatbuffers, which comes with LiteRT

    model = parse_tflite(path)
    entry = _find_entry(model)
    if entry is None:
        return {}
    try:
        data = model.buffers[entry.buffer].data
        return metadata_schema.unpack(b"" if data is None else bytes(data))
    except Exception as error:
        raise ValueError(f"{path} holds damaged metadata: {error}") from error


def find_info(path):
    """The `ModelInfo` of a `.tflite` file: kdl's, or what TensorFlow Lite's metadata tells.

    Metadata that cannot be used is left out with a warning that names the file.

    Args:
        path: The file.

    Raises:
        ValueError: If it is damaged, or lacks the labels that its metadata speaks of.
    """
    info = read_model_info(path)
    if info != ModelInfo():
        return info
    graphs = read_metadata(path).get("subgraph_metadata", [])
    inputs, outputs = (
        graphs[0].get(f"{way}_tensor_metadata", []) if graphs else [] for way in ("input", "output")
    )
    model = parse_tflite(path)
    spec = spec_of(inputs[0], model, path) if len(inputs) == 1 else None
    return ModelInfo(labels_of(outputs, model, path), spec)


def _find_entry(model):
    return next((entry for entry in model.metadata if entry.name == _ENTRY), None)


def _with_metadata(model, metadata):
    """Bytes of the model with this entry."""
    import flatbuffers

    from kdl.deploy.tflite import metadata_schema

    packed = np.frombuffer(metadata_schema.pack(metadata), "uint8")
    contents = [buffer.data for buffer in model.buffers]
    entry = _find_entry(model)
    model = copy.copy(model)  # what was parsed stays as it is
    if entry is None:
        entry = tflite_schema().MetadataT()
        entry.name = _ENTRY
        entry.buffer = len(contents)
        model.metadata = [*model.metadata, entry]
        contents.append(packed)
    contents[entry.buffer] = packed
    model.buffers = [*map(AlignedBuffer, contents)]
    builder = flatbuffers.Builder(sum(len(data) for data in contents if data is not None))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _other_files(path):
    """`(entry, bytes)` of the archive's files that are not written anew."""
    ours = ("kdl.json", LABELS_FILE)
    with opened(path) as archive:
        entries = [] if archive is None else archive.infolist()
        others = [entry for entry in entries if entry.filename not in ours]
        return [(entry, read_entry(archive, entry, path)) for entry in others]


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]
