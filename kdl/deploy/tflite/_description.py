"""Description of a model's image and classes in TensorFlow Lite's metadata."""

import numpy as np

from kdl.data.model_info import LABELS_FILE
from kdl.deploy.tflite.file import scales_of, type_name
from kdl.deploy.tflite.tensor_names import SCORES, kind_by_name


def check_fits(path, model, info):
    """Raises ValueError unless a `ModelInfo` fits a file, which can take metadata."""
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
    if info.labels is not None and not labelled_outputs(graph, info.labels, names):
        raise ValueError(f"{path} has no output for {len(info.labels)} classes.")


def _described_input(graph, spec):
    """Place among the inputs of the one that has the shape of the images of `spec`, or None."""
    return spec.place_among([tuple(graph.tensors[i].shape[1:]) for i in graph.inputs])


def labelled_outputs(graph, labels, names):
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
    """Tell if an output gives these classes of pixels, as scores or as label maps."""
    if len(tensor.shape) not in (3, 4):
        return False
    channels = tensor.shape[3] if len(tensor.shape) == 4 else 1
    if "INT" in type_name(tensor) and scales_of(tensor) is None:
        return channels == 1
    return len(tensor.shape) == 4 and max(2, channels) == classes


def describe(model, info, name):
    """The metadata of a model with this `ModelInfo`, as a dictionary."""
    graph = model.subgraphs[0]
    names = _signature_names(model)
    inputs = [{"name": names[i]} for i in graph.inputs]
    outputs = [{"name": names[i]} for i in graph.outputs]
    if info.input_spec is not None:
        inputs[_described_input(graph, info.input_spec)] |= _describe_input(info.input_spec)
    places = [] if info.labels is None else labelled_outputs(graph, info.labels, names)
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
