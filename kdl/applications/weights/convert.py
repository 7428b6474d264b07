"""Conversion of the weights of reference networks to those of kdl models."""

import os
from collections import Counter
from collections.abc import Mapping

import keras
import numpy as np

from kdl._typing import ArrayLike, Path
from kdl.applications.weights.keras_file import read_keras_weights
from kdl.applications.weights.naming import resolve
from kdl.applications.weights.torch_file import read_state_dict, unwrapped_names

# Keras's name of a weight → PyTorch's, within one layer.
_TORCH_WEIGHT = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

# How many parts of a name may come before the reference's: `model.module.backbone.`.
_MOST_PREFIXES = 6

# Weights of kdl's and Keras's layers that are no part of a published network.
TRAINING_STATE = ("seed_generator_state", "drop_path_step", "drop_path_total_steps")


def load_torch_weights(model: keras.Model, state: Path | Mapping[str, ArrayLike]) -> None:
    """Fill a model of `kdl.applications` with the weights of a PyTorch reference.

    Layouts are converted: convolution `OIHW → HWIO`, depthwise `C1HW → HWC1`, linear `OI → IO`,
    batch norm's `weight, bias, running_mean, running_var → gamma, beta, moving_mean,
    moving_variance`. The project that the names belong to (torchvision, timm, the authors' own) is
    recognized, as is a prefix of the names, such as `model.` or `backbone.`: tensors without it
    belong to what is around the network, and are left out. Every tensor is checked before the first
    one is set, so that a file that does not fit leaves the model as it was. A model without top
    takes a file with one.

    Args:
        model: A model of `kdl.applications`.
        state: Path of a `.pth` or `.safetensors` file, or a mapping of names to arrays or tensors
            (a PyTorch `state_dict`).

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file is damaged, or a tensor is missing, left over or of another shape;
            the message names the first such tensor.

    Example:
        >>> import keras, kdl, numpy as np
        >>> model = kdl.applications.ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=10)
        >>> kdl.applications.load_torch_weights(model, {"fc.weight": np.zeros((10, 1024))})
        Traceback (most recent call last):
        ...
        ValueError: 'conv1.0.weight' is missing from the state dict: it belongs to another ...
    """
    fill_from_arrays(model, *as_arrays(state))


def fill_from_arrays(model, arrays, origin):
    """Fill a model that has `reference_names` with arrays by their names in PyTorch.

    Args:
        model: A model of kdl.
        arrays: Dict of arrays.
        origin: What messages call the source.

    Raises:
        ValueError: As `load_torch_weights`.
    """
    projects = [p for p in _projects(model, "load_torch_weights") if not _of_keras(p)]
    _check_known(model, projects, "load_torch_weights")
    project, prefix = _best(model, projects, arrays)
    if prefix:
        arrays = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        origin = f"{origin} (after the prefix {prefix!r} of its names)"
    _fill(model, project, arrays, origin)


def load_keras_weights(model: keras.Model, source: keras.Model | Path) -> None:
    """Fill a model of `kdl.applications` with the weights of a model of `keras.applications`.

    Every weight is checked before the first one is set, so that a source that does not fit leaves
    the model as it was. A model without top takes a source with one.

    Args:
        model: A model of `kdl.applications`.
        source: A model of `keras.applications`, or the path of an `.h5` file of its weights.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If `keras.applications` has no such network, the file is damaged, or a weight is
            missing, left over or of another shape; the message names the first such weight.

    Example:
        >>> import keras, kdl
        >>> theirs = keras.applications.MobileNet((32, 32, 3), 0.25, weights=None, classes=4)
        >>> ours = kdl.applications.MobileNet(
        ...     0.25, padding="same", input_shape=(32, 32, 3), classes=4
        ... )
        >>> kdl.applications.load_keras_weights(ours, theirs)
    """
    projects = [p for p in _projects(model, "load_keras_weights") if _of_keras(p)]
    _check_known(model, projects, "load_keras_weights")
    origin = source.name if isinstance(source, keras.Model) else os.fspath(source)
    arrays = _one_kernel_name(read_keras_weights(source))
    project, _ = _best(model, projects, arrays, prefixes=False)
    _fill(model, project, arrays, origin)


def _of_keras(project):
    return project.startswith("keras")


def _best(model, projects, arrays, prefixes=True):
    """The project and the prefix with which most of its names are among those of the arrays."""
    counts = Counter({(project, ""): 0 for project in projects})
    for project in projects:
        expected = {name for _, name in named_weights(model, project)}
        for name in arrays:
            parts = name.split(".", _MOST_PREFIXES if prefixes else 0)
            for place in range(len(parts)):
                if ".".join(parts[place:]) in expected:
                    counts[project, "".join(f"{part}." for part in parts[:place])] += 1
    # Of equals the first is taken.
    return max(counts, key=counts.get)


def _projects(model, function):
    if not hasattr(model, "reference_names"):
        raise ValueError(
            f"{function} fills models of kdl.applications; received a {type(model).__name__}, "
            f"whose names elsewhere are not known."
        )
    return list(model.reference_names())


def _check_known(model, projects, function):
    if not projects:
        known = ", ".join(model.reference_names()) or "none"
        padding = model.get_config().get("padding")
        variant = f" with padding={padding!r}" if padding else ""
        raise ValueError(
            f"{function} knows no names for {model.name}{variant}. Projects whose names are known: "
            f"{known}."
        )


def _fill(model, project, arrays, origin):
    pairs = list(named_weights(model, project))
    values, used = [], set()
    for variable, name in pairs:
        if name not in arrays:
            raise ValueError(
                f"{name!r} is missing from {origin}: it belongs to another network or variant than "
                f"{model.name}, or is incomplete. Its first names are {list(arrays)[:3]}."
            )
        array = arrays[name] if _of_keras(project) else _to_keras_layout(arrays[name], variable)
        values.append(_fitted(array, variable, name, origin))
        used.add(name)
    _check_nothing_left(arrays, used, model, origin)
    for (variable, _), value in zip(pairs, values, strict=True):
        variable.assign(value)


def as_arrays(state):
    """The arrays of a file or mapping by their names in PyTorch, and what messages call it."""
    if isinstance(state, str | os.PathLike):
        return read_state_dict(state), os.fspath(state)
    if not isinstance(state, Mapping):
        raise ValueError(
            f"state must be a path or a mapping of names to arrays; received a "
            f"{type(state).__name__}."
        )
    arrays = unwrapped_names({name: _as_array(value) for name, value in state.items()})
    return arrays, "the state dict"


def _as_array(value):
    if hasattr(value, "detach"):  # a PyTorch tensor, possibly bfloat16, which NumPy lacks
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
    return np.asarray(value)


def _one_kernel_name(arrays):
    """Files call the kernel of a depthwise convolution `depthwise_kernel`, Keras 3 `kernel`.

    A separable convolution has a `depthwise_kernel` and a `pointwise_kernel`, and keeps both.
    """
    separable = {n.rsplit(".", 1)[0] for n in arrays if n.endswith(".pointwise_kernel")}

    def rename(name):
        layer, weight = name.rsplit(".", 1)
        alone = weight == "depthwise_kernel" and layer not in separable
        return f"{layer}.kernel" if alone else name

    return {rename(name): array for name, array in arrays.items()}


def named_weights(model, project):
    """Yields each weight of `model` with its name in the reference."""
    templates = model.reference_names()[project]
    for layer in model.layers:
        for variable in layer.weights:
            # Variable paths begin with the scopes in which the model was built, if any.
            path = variable.path.split("/")
            path = path[path.index(layer.name) :]
            if path[-1] in TRAINING_STATE:
                continue
            module = resolve(templates, "/".join(path[:-1]))
            if module is None:
                raise ValueError(f"{project} has no name for {variable.path}.")
            # A separable convolution of Keras is two layers of kdl: "layer:pointwise_kernel".
            module, _, separable = module.partition(":")
            kind = path[-1] if _of_keras(project) else _TORCH_WEIGHT[path[-1]]
            yield variable, f"{module}.{separable or kind}"


def _to_keras_layout(array, variable):
    shape = tuple(variable.shape)
    if array.ndim == 4:
        depthwise = array.shape[1] == 1 and shape[-1] == 1 and array.shape[0] == shape[-2]
        return array.transpose(2, 3, 0, 1) if depthwise else array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def _fitted(array, variable, name, origin):
    shape = tuple(variable.shape)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name!r} in {origin} holds no numbers: its dtype is {array.dtype}.")
    if (1, 1, *array.shape) == shape or array.shape == (1, 1, *shape):
        array = array.reshape(shape)  # a dense layer and a 1×1 convolution have the same weights
    if array.shape != shape:
        raise ValueError(
            f"{name!r} in {origin} has shape {array.shape} in Keras's layout where the model's "
            f"{variable.path} has {shape}: the widths, the number of classes or the variant differ."
        )
    return array


def _check_nothing_left(arrays, used, model, origin):
    present = {layer.name for layer in model.layers}
    # Of all projects: some differ only in the name of a layer that this model does not have.
    absent = tuple(
        f"{name}."
        for names in model.reference_names().values()
        for path, name in names.items()
        if path.split("/")[0] not in present and "{" not in path
    )
    for name in arrays:
        if name in used or name.endswith("num_batches_tracked") or name.startswith(absent):
            continue
        raise ValueError(
            f"{origin} holds {name!r}, which {model.name} does not have: the file belongs to "
            f"another network or variant."
        )
