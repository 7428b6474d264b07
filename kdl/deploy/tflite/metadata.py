"""Metadata in a `.tflite` file, for kdl and for TensorFlow Lite's own tools."""

import copy
import os
import warnings
import zipfile

import numpy as np

from kdl._files import draft_of
from kdl._typing import Path
from kdl.data.archives import opened, read_entry
from kdl.data.input_spec import InputSpec
from kdl.data.model_info import LABELS_FILE, ModelInfo, read_model_info, write_model_info
from kdl.deploy.tflite._aligned_buffer import AlignedBuffer
from kdl.deploy.tflite.file import damage_named, parse_tflite, tflite_schema, type_name
from kdl.deploy.tflite.tensor_names import SCORES, kind_by_name

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
        ...     write_metadata(path, ModelInfo(names, InputSpec((48, 48))))
        ...     kdl.deploy.ImageClassifier(path).info.labels[7]
        'seven'
    """
    model = parse_tflite(path)
    _check_fits(path, model, info)
    with damage_named(path):
        content = _with_metadata(model, _describe(model, info, name or _stem(path)))
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
    spec = _spec_of(inputs[0], model, path) if len(inputs) == 1 else None
    return ModelInfo(_labels_of(outputs, model, path), spec)


def _check_fits(path, model, info):
    graph = model.subgraphs[0]
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    if any(buffer.offset > 1 for buffer in model.buffers) or any(
        operator.largeCustomOptionsOffset > 1 for operator in operators
    ):
        raise ValueError(
            f"{path} keeps its constants behind the model, as files above 2 GB do: it cannot take "
            f"metadata."
        )
    if info.input_spec is not None and _described_input(graph, info.input_spec) is None:
        shapes = [tuple(int(n) for n in graph.tensors[i].shape) for i in graph.inputs]
        raise ValueError(
            f"input_spec describes images of shape {info.input_spec.shape}, of one input; "
            f"{path} takes {shapes}, with the batch first."
        )
    names = _signature_names(model)
    if info.labels is not None and not _labelled_outputs(graph, info.labels, names):
        raise ValueError(f"{path} has no output for {len(info.labels)} classes.")


def _described_input(graph, spec):
    """Place among the inputs of the one that has the shape of the images of `spec`, or None."""
    return spec.place_among([tuple(graph.tensors[i].shape[1:]) for i in graph.inputs])


def _labelled_outputs(graph, labels, names):
    """Places among the outputs of those that have a number for each label, the likeliest alone.

    Rows of classes come before maps of them, and what is called as scores are before all else; of
    several outputs, what is called boxes has no classes. More than one place means that the names
    do not tell which is meant.
    """
    tensors = [graph.tensors[index] for index in graph.outputs]
    ranks = {}
    for place, tensor in enumerate(tensors):
        is_row = len(tensor.shape) == 2 and tensor.shape[1] == len(labels)
        if is_row or _is_map(tensor, len(labels)):
            ranks[place] = (not is_row, _rank(names[graph.outputs[place]], is_row))
    if len(tensors) > 1:
        ranks = {place: rank for place, rank in ranks.items() if rank[1] is not None}
    likeliest = [place for place, rank in ranks.items() if rank == min(ranks.values())]
    # Whichever of kdl's own names stands there, it gives the same classes.
    return likeliest[:1] if likeliest and ranks[likeliest[0]][1] == 0 else likeliest


def _rank(name, is_row):
    """Place of an output's name in the order of those that may mean classes; None for boxes."""
    if name in SCORES or (name == "main" and not is_row):
        return 0
    return {"scores": 1, None: 2, "features": 3, "boxes": None}[kind_by_name(name)]


def _is_map(tensor, classes):
    """Whether an output gives these classes of pixels, as scores or as label maps."""
    if len(tensor.shape) not in (3, 4):
        return False
    channels = tensor.shape[3] if len(tensor.shape) == 4 else 1
    if "INT" in type_name(tensor) and _scales(tensor) is None:
        return channels == 1
    return len(tensor.shape) == 4 and max(2, channels) == classes


def _describe(model, info, name):
    graph = model.subgraphs[0]
    names = _signature_names(model)
    inputs = [{"name": names[i]} for i in graph.inputs]
    outputs = [{"name": names[i]} for i in graph.outputs]
    if info.input_spec is not None:
        inputs[_described_input(graph, info.input_spec)] |= _describe_input(info.input_spec)
    places = [] if info.labels is None else _labelled_outputs(graph, info.labels, names)
    tensors = [graph.tensors[graph.outputs[place]] for place in places]
    task = "segmenter" if tensors and len(tensors[0].shape) > 2 else "classifier"
    if len(places) == 1:  # of several, none is named on chance
        [place], [tensor] = places, tensors
        outputs[place] |= _describe_output(outputs[place]["name"], tensor, info.labels)
    return {
        "name": name,
        "description": f"Image {task} made with kdl.",
        "subgraph_metadata": [{"input_tensor_metadata": inputs, "output_tensor_metadata": outputs}],
        "min_parser_version": "1.0.0",
    }


def _describe_input(spec):
    """Mean and deviation of the schema are in units of bytes: `(x − mean) / std`."""
    from kdl.deploy.tflite.metadata_schema import COLOR_SPACES

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


def _describe_output(name, tensor, labels):
    from kdl.deploy.tflite.metadata_schema import TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS

    along_axis = tensor.shape[-1] == len(labels) and type_name(tensor) not in ("INT32", "INT64")
    labels = {
        "name": LABELS_FILE,
        "description": "Names of the classes, one a line.",
        "type": TENSOR_AXIS_LABELS if along_axis else TENSOR_VALUE_LABELS,
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
    names = {i: (tensor.name or b"").decode(errors="replace") for i, tensor in enumerate(tensors)}
    for signature in model.signatureDefs:
        if signature.subgraphIndex == 0:
            for entry in (*signature.inputs, *signature.outputs):
                names[entry.tensorIndex] = entry.name.decode()
    return names


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


def _spec_of(metadata, model, path):
    """The `InputSpec` that a description of an input tells; None if it is no image's."""
    kind, image = metadata.get("content", {}).get("content_properties", (None, None))
    graph = model.subgraphs[0]
    if not len(graph.inputs) or kind != "ImageProperties" or not image.get("color_space", 0):
        return None
    tensor = graph.tensors[graph.inputs[0]]
    shape = tuple(int(n) for n in tensor.shape)
    if len(shape) != 4 or shape[3] not in (1, 3):
        return None
    if type_name(tensor) == "UINT8" and _scales(tensor) is None:
        # The bytes themselves, whatever normalization is named: that is none of integers.
        return InputSpec(shape[1:3], shape[3], dtype="uint8")
    scale = _scale_of(metadata, tensor)
    if scale is None:
        return None
    try:
        mean, std = (tuple(map(float, np.broadcast_to(part, shape[3]))) for part in scale)
        return InputSpec(shape[1:3], shape[3], mean, std)
    except ValueError as error:
        warnings.warn(
            f"{path} does not say how an image becomes its input, since its metadata cannot be "
            f"used: {error}",
            stacklevel=3,
        )
        return None


def _scale_of(metadata, tensor):
    """`(mean, std)` of pixels in [0, 1]; None if the metadata tells none, or several."""
    if type_name(tensor) == "UINT8" and _scales(tensor) is not None:
        # The bytes of an image are this input as they are, whatever normalization is named:
        # `scale · (x − zero point)`, and no other reader of such files computes more.
        scales, zeros = _scales(tensor), np.asarray(tensor.quantization.zeroPoint)
        if len(scales) == 1 and scales[0] > 0:
            return zeros / 255, 1 / (255.0 * scales)
    scales = [
        unit["options"][1]
        for unit in metadata.get("process_units", [])
        if unit.get("options", ("",))[0] == "NormalizationOptions"
    ]
    if len(scales) != 1:
        return None
    return tuple(np.array(scales[0].get(key, [])) / 255 for key in ("mean", "std"))


def _scales(tensor):
    """The scales of a tensor of integers, or None if they are what they stand for."""
    quantization = tensor.quantization
    scales = None if quantization is None else quantization.scale
    return None if scales is None or not np.any(scales) else np.asarray(scales)


def _labels_of(outputs, model, path):
    found = [files for files in map(_label_files, outputs) if files]
    if len(found) != 1:
        return None
    # Of several languages the one that is named none, as TFLite's own readers take.
    file = min(found[0], key=lambda file: bool(file.get("locale")))
    lines = _lines(path, file["name"])
    index = next(i for i, output in enumerate(outputs) if _label_files(output))
    if index < len(model.subgraphs[0].outputs):
        shape = model.subgraphs[0].tensors[model.subgraphs[0].outputs[index]].shape
        if not len(shape) or shape[-1] != len(lines):
            lines = [line for line in lines if line.strip()]
    if not all(line.strip() for line in lines):
        warnings.warn(
            f"{path} has blank labels in {file['name']}: its labels are left out.", stacklevel=3
        )
        return None
    # What only some readers take for the end of a line stays a space.
    return [" ".join(line.splitlines()) for line in lines]


def _label_files(output):
    from kdl.deploy.tflite.metadata_schema import TENSOR_AXIS_LABELS

    files = output.get("associated_files", [])
    return [file for file in files if file.get("type") == TENSOR_AXIS_LABELS and "name" in file]


def _lines(path, name):
    """The lines of a text in the archive, without a byte order mark and blank ones at the end."""
    with opened(path) as archive:
        if archive is None or name not in archive.namelist():
            raise ValueError(
                f"{path} is damaged or truncated: the labels in {name} that it speaks of are "
                f"missing. Export it again."
            )
        content = read_entry(archive, name, path)
    text = content.decode("utf-8-sig", errors="replace")
    if "\ufffd" in text:
        warnings.warn(f"{path} has labels in {name} that are not UTF-8.", stacklevel=4)
    return text.rstrip().replace("\r\n", "\n").split("\n")


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]
