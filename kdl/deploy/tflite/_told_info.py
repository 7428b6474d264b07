"""Image and classes of a model, as TensorFlow Lite's metadata tells them."""

import warnings

import numpy as np

from kdl.data.archives import opened, read_entry
from kdl.data.input_spec import InputSpec
from kdl.deploy.tflite.file import scales_of, type_name


def spec_of(metadata, model, path):
    """The `InputSpec` that a description of an input tells; None if it is no image's."""
    kind, image = metadata.get("content", {}).get("content_properties", (None, None))
    graph = model.subgraphs[0]
    if not len(graph.inputs) or kind != "ImageProperties" or not image.get("color_space", 0):
        return None
    tensor = graph.tensors[graph.inputs[0]]
    shape = tuple(int(n) for n in tensor.shape)
    if len(shape) != 4 or shape[3] not in (1, 3):
        return None
    try:
        if type_name(tensor) == "UINT8" and scales_of(tensor) is None:
            # The bytes themselves, whatever normalization is named: that is none of integers.
            return InputSpec(shape[1:3], shape[3], dtype="uint8")
        scale = _scale_of(metadata, tensor)
        if scale is None:
            return None
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
    if type_name(tensor) == "UINT8" and scales_of(tensor) is not None:
        # The bytes of an image are this input as they are, whatever normalization is named:
        # `scale · (x − zero point)`, and no other reader of such files computes more.
        scales, zeros = scales_of(tensor), np.asarray(tensor.quantization.zeroPoint)
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


def labels_of(outputs, model, path):
    """The class names that descriptions of outputs tell; None if there are none, or several."""
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
