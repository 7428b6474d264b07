"""Loading of weights that Keras saved of the same network, with or without its head."""

import io
import math
import warnings

import keras

from kdl.applications.weights.convert import TRAINING_STATE
from kdl.applications.weights.hdf5_file import open_hdf5
from kdl.data.archives import check_entry, open_archive, read_entry

_WEIGHTS = "model.weights.h5"

# Arguments of NASNet that describe its cells.
_CELLS = ("normal", "reduction")

# Where Keras writes the layers of a model.
_LAYERS = ("layers", "_layer_checkpoint_dependencies")

# Layers whose weights are counters of training, which a network for inference has not.
_COUNTERS = ("scheduled_drop_path", "seed_generator")

# Arguments of networks that leave open what the weights compute; what else differs, such as a
# padding or the place of a stride, makes another network of the same shapes.
_LEFT_OPEN = {
    *("auxiliary", "classes", "classifier_activation", "data_format", "drop_path_keep", "dropout"),
    *("dtype", "include_top", "input_shape", "input_tensor", "lineage", "momentum", "name"),
    *("multi_grid", "output_stride", "pooling", "weights"),
    *("depth", "squeeze_ratio"),  # told by the layers, and written in several ways
    *("frozen", "model_info", "synchronized"),  # state, not arguments
}


def load_own_weights(model: keras.Model, path: str):
    """Fill a model with the weights of a `.weights.h5` or `.keras` file of the same network.

    A model without top takes a `.keras` file of one with top. A file that does not fit leaves the
    model as it was.

    Args:
        model: A model of `kdl.applications`.
        path: The file.

    Raises:
        ValueError: If the file is damaged, of another network or variant, or refers to other files.
    """
    before = model.get_weights()
    try:
        if path.endswith(".keras"):
            _load_keras(model, path)
        else:
            _load_h5(model, path)
    # What is damaged can fail in nearly any way, and an interrupted load is half a load.
    except BaseException as error:
        model.set_weights(before)
        if not isinstance(error, Exception):
            raise
        raise ValueError(
            f"{path} does not fit {model.name}: {error} Expected weights saved from the same "
            f"architecture and arguments. To take all but the head from a .keras file, build the "
            f"model with include_top=False, and add a head."
        ) from error


def _load_h5(model, path):
    with open_hdf5(path) as file:
        stored = _stored_groups(file, _left_out(model))
    with warnings.catch_warnings():
        # Keras only warns of layers that the file lacks, and leaves them as they were.
        warnings.filterwarnings("error", message="Skipping", category=UserWarning)
        model.load_weights(path)
    _check_all_was_read(model, stored)


def _left_out(model):
    """Beginning of the names of layers that a network for training has, and this one has not."""
    return () if model.get_config().get("auxiliary", True) else ("auxiliary",)


def _stored_groups(file, left_out):
    """Dict: group of a layer of the model in an HDF5 file → number of elements of its weights.

    The optimizer of a model that was compiled lies beside them.
    """
    sizes = {}

    def count(name, node):
        parts = name.split("/")
        if hasattr(node, "shape") and "vars" in parts and parts[0] in _LAYERS:
            group = parts[: parts.index("vars")]
            name = str(node.parent.attrs.get("name", ""))
            if not group[-1].startswith(_COUNTERS) and not name.startswith(left_out):
                sizes["/".join(group)] = sizes.get("/".join(group), 0) + node.size

    file.visititems(count)
    return sizes


def _check_all_was_read(model, stored):
    """Raise for a file with more weights; for a model without top one layer more may be the head.

    Keras reads what the model asks for, and does not tell of the rest: that of a deeper network.
    """
    weights = [w for w in model.weights if w.name not in TRAINING_STATE]
    surplus = sum(stored.values()) - sum(math.prod(w.shape) for w in weights)
    heads = [size for group, size in stored.items() if group.count("/") == 1]
    if surplus and (model.get_config()["include_top"] or surplus not in heads):
        raise ValueError(f"it has {surplus:,} numbers more than this model has weights.")


def _load_keras(model, path):
    _check_archive(path)
    source = _same_network(model, keras.models.load_model(path, compile=False))
    _check_arguments(model, source)
    theirs = _variables(source)
    values = []
    for name, variable in _variables(model).items():
        if name not in theirs:
            raise ValueError(f"{name!r} is missing from it.")
        if theirs[name].shape != variable.shape:
            raise ValueError(
                f"{name!r} has shape {tuple(theirs[name].shape)} there and "
                f"{tuple(variable.shape)} here."
            )
        values.append((variable, theirs[name]))
    _check_only_a_head_is_left(model, source)
    for variable, value in values:
        variable.assign(value)


def _check_archive(path):
    with open_archive(path) as archive:
        for entry in archive.infolist():
            check_entry(entry, path)
        if _WEIGHTS in archive.namelist():
            content = read_entry(archive, _WEIGHTS, path)
            with open_hdf5(io.BytesIO(content), len(content)):
                pass


def _same_network(model, source):
    """The network of the model's class in what was saved: the whole, or a layer of it."""
    if isinstance(source, type(model)):
        return source
    inner = [layer for layer in source.layers if isinstance(layer, type(model))]
    return inner[0] if len(inner) == 1 else source


def _check_arguments(model, source):
    """Raise for a network of the same class that computes something else of its weights."""
    if not isinstance(source, type(model)):
        return
    ours, theirs = model.get_config(), source.get_config()
    for name in sorted((ours.keys() & theirs.keys()) - _LEFT_OPEN):
        named = name in _CELLS and None in (ours[name], theirs[name])  # None is NASNet-A's
        if ours[name] != theirs[name] and not named:
            raise ValueError(
                f"it was made with {name}={theirs[name]!r}, this model with {ours[name]!r}."
            )


def _variables(model):
    """Dict: path from the layer on → variable."""
    variables = {}
    for layer in model.layers:
        for variable in layer.weights:
            # Paths begin with the scopes in which the model was built, if any.
            path = variable.path.split("/")
            place = path.index(layer.name) if layer.name in path else 0
            variables["/".join([layer.name, *path[place + 1 :]])] = variable
    return variables


def _check_only_a_head_is_left(model, source):
    """Raise for a file with more layers, unless they come after all that the model has."""
    ours = {layer.name for layer in model.layers}
    names = [layer.name for layer in source.layers if layer.weights]
    names = [name for name in names if not name.startswith(_left_out(model))]
    left = [name for name in names if name not in ours]
    a_head = not model.get_config()["include_top"] and names[-len(left) :] == left
    if left and not a_head:
        raise ValueError(f"it has the layer {left[0]!r}, which this model does not have.")
