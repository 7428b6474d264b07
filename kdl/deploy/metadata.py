"""What a `.tflite` file says about itself, for kdl and for TensorFlow Lite's own tools."""

import contextlib
import os
import shutil
import zipfile

import numpy as np

from kdl.data.input_spec import InputSpec
from kdl.data.model_info import LABELS_FILE, ModelInfo, read_model_info, write_model_info
from kdl.deploy.atomic import temporary_beside, write_whole
from kdl.deploy.tflite_file import parse_tflite, tflite_schema

_ENTRY = b"TFLITE_METADATA"
# TFLite lets constants lie at such addresses only, so that processors read them at full speed.
_ALIGNMENT = 16


def write_metadata(path, info, name=None):
    """Writes class names and the input specification into a `.tflite` file.

    They go where each reader looks for them: into `kdl.json` and `labels.txt` in the archive at the
    end of the file, and into the entry `TFLITE_METADATA` of the model (schema "M001"), which
    MediaPipe and Android's tools read: size and colours of the picture, mean and standard deviation
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
        ValueError: If it is damaged, or `info` does not fit it.
        ImportError: If `ai-edge-litert` is missing.

    Example:
        >>> import kdl, pathlib, shutil, tempfile
        >>> files = pathlib.Path(kdl.__file__).parents[1] / "saved_models" / "quickstart"
        >>> names = "zero one two three four five six seven eight nine".split()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = shutil.copy(files / "int8.tflite", folder)
        ...     write_metadata(path, ModelInfo(names, InputSpec((48, 48))))
        ...     kdl.deploy.Runner(path).info.labels[7]
        'seven'
    """
    model = parse_tflite(path)
    _check_fits(path, model, info)
    content = _with_metadata(model, _describe(model, info, name or _stem(path)))
    others = _other_files(path)
    with temporary_beside(path) as draft:
        write_whole(draft, content)
        if others:
            with zipfile.ZipFile(draft, "a") as archive:
                for entry, data in others:
                    archive.writestr(entry, data)
        write_model_info(draft, info)
        shutil.copymode(path, draft)
        os.replace(draft, path)


def read_metadata(path):
    """The entry `TFLITE_METADATA` of a `.tflite` file as a dictionary; an empty one without it.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged.
        ImportError: If `ai-edge-litert` is missing.
    """
    from kdl.deploy import metadata_schema  # needs flatbuffers, which comes with LiteRT

    model = parse_tflite(path)
    entry = _find_entry(model)
    if entry is None:
        return {}
    try:
        return metadata_schema.unpack(bytes(model.buffers[entry.buffer].data))
    except Exception as error:
        raise ValueError(f"{path} holds damaged metadata: {error}") from error


def find_info(path):
    """The `ModelInfo` of a `.tflite` file: kdl's, or what TensorFlow Lite's metadata tells.

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
    spec = _spec_of(inputs[0], parse_tflite(path)) if len(inputs) == 1 else None
    return ModelInfo(_labels_of(outputs, path), spec)


def _check_fits(path, model, info):
    graph = model.subgraphs[0]
    if info.input_spec is not None:
        spec = (*info.input_spec.size, info.input_spec.channels)
        shapes = [tuple(int(n) for n in graph.tensors[i].shape) for i in graph.inputs]
        if [shape[1:] for shape in shapes] != [spec]:
            raise ValueError(
                f"input_spec describes pictures of shape {spec}; {path} takes {shapes}, with the "
                f"batch first."
            )
    if info.labels is not None and _labelled_output(graph, info.labels) is None:
        raise ValueError(f"{path} has no output for {len(info.labels)} classes.")


def _labelled_output(graph, labels):
    """Place among the outputs of the one that has a number for each label."""
    for place, index in enumerate(graph.outputs):
        shape = graph.tensors[index].shape
        if len(shape) == 2 and shape[1] == len(labels):
            return place
    return None


def _describe(model, info, name):
    graph = model.subgraphs[0]
    names = _signature_names(model)
    inputs = [{"name": names[i]} for i in graph.inputs]
    outputs = [{"name": names[i]} for i in graph.outputs]
    if info.input_spec is not None:
        inputs[0] |= _describe_input(info.input_spec)
    if info.labels is not None:
        output = outputs[_labelled_output(graph, info.labels)]
        output |= _describe_output(output["name"])
    return {
        "name": name,
        "description": "Image classifier made with kdl.",
        "subgraph_metadata": [{"input_tensor_metadata": inputs, "output_tensor_metadata": outputs}],
        "min_parser_version": "1.0.0",
    }


def _describe_input(spec):
    """Mean and deviation of the schema are in units of bytes: `(x − mean) / std`."""
    from kdl.deploy.metadata_schema import COLOR_SPACES

    mean, std = np.array(spec.mean), np.array(spec.std)
    color = "GRAYSCALE" if spec.channels == 1 else "RGB" if spec.color == "rgb" else "UNKNOWN"
    height, width = spec.size
    image = {
        "color_space": COLOR_SPACES[color],
        "default_size": {"width": width, "height": height},
    }
    scale = {"mean": 255 * mean, "std": 255 * std}
    return {
        "content": {"content_properties": ("ImageProperties", image)},
        "process_units": [{"options": ("NormalizationOptions", scale)}],
        "stats": {"max": (1 - mean) / std, "min": (0 - mean) / std},
    }


def _describe_output(name):
    from kdl.deploy.metadata_schema import TENSOR_AXIS_LABELS

    labels = {
        "name": LABELS_FILE,
        "description": "Names of the classes, one a line.",
        "type": TENSOR_AXIS_LABELS,
    }
    limits = {"stats": {"max": [1.0], "min": [0.0]}} if name == "probabilities" else {}
    return {
        "content": {"content_properties": ("FeatureProperties", {})},
        "associated_files": [labels],
        **limits,
    }


def _signature_names(model):
    """Name of each tensor: that of the signature where it has one."""
    tensors = model.subgraphs[0].tensors
    names = {index: (tensor.name or b"").decode() for index, tensor in enumerate(tensors)}
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            for entry in (*signature.inputs, *signature.outputs):
                names[entry.tensorIndex] = entry.name.decode()
    return names


def _find_entry(model):
    entries = model.metadata or []
    return next((entry for entry in entries if entry.name == _ENTRY), None)


def _with_metadata(model, metadata):
    """Bytes of the model with this entry."""
    import flatbuffers

    from kdl.deploy import metadata_schema

    schema = tflite_schema()
    entry = _find_entry(model)
    if entry is None:
        entry = schema.MetadataT()
        entry.name = _ENTRY
        entry.buffer = len(model.buffers)
        model.metadata = [*(model.metadata or []), entry]
        model.buffers.append(schema.BufferT())
    packed = np.frombuffer(metadata_schema.pack(metadata), "uint8")
    model.buffers[entry.buffer].data = packed
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise ValueError("A file above 2 GB keeps its constants elsewhere: it has no metadata.")
    model.buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    builder = flatbuffers.Builder(sum(len(b.data) for b in model.buffers if b.data is not None))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _AlignedBuffer:
    """A buffer that begins at a multiple of 16 bytes, which LiteRT's own class does not see to."""

    def __init__(self, data):
        self.data = data

    def Pack(self, builder):
        schema = tflite_schema()
        place = None
        if self.data is not None:
            data = np.asarray(self.data, "uint8")
            builder.Prep(_ALIGNMENT, len(data))
            place = builder.CreateNumpyVector(data)
        schema.BufferStart(builder)
        if place is not None:
            schema.BufferAddData(builder, place)
        return schema.BufferEnd(builder)


def _other_files(path):
    """`(entry, bytes)` of the archive's files that are not written anew."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        ours = ("kdl.json", LABELS_FILE)
        return [(e, archive.read(e)) for e in archive.infolist() if e.filename not in ours]
    return []


def _spec_of(metadata, model):
    """The `InputSpec` that a description of an input tells; None if it is no picture's."""
    kind, image = metadata.get("content", {}).get("content_properties", (None, None))
    graph = model.subgraphs[0]
    shape = graph.tensors[graph.inputs[0]].shape
    scales = [
        unit["options"][1]
        for unit in metadata.get("process_units", [])
        if unit.get("options", ("",))[0] == "NormalizationOptions"
    ]
    known = kind == "ImageProperties" and image.get("color_space", 0) and len(scales) == 1
    if not known or len(shape) != 4 or shape[3] not in (1, 3):
        return None
    channels = int(shape[3])
    mean, std = (
        tuple(float(v) / 255 for v in np.broadcast_to(scales[0][key], channels))
        for key in ("mean", "std")
    )
    return InputSpec((int(shape[1]), int(shape[2])), channels, mean, std)


def _labels_of(outputs, path):
    from kdl.deploy.metadata_schema import TENSOR_AXIS_LABELS

    names = [
        file["name"]
        for output in outputs
        for file in output.get("associated_files", [])
        if file.get("type") == TENSOR_AXIS_LABELS and "name" in file
    ]
    if len(names) != 1:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(names[0]).decode().splitlines()
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"{path} is damaged or truncated: the labels in {names[0]} that it speaks of are "
            f"missing. Export it again."
        ) from error


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]
