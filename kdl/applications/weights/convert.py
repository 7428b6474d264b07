"""PyTorch weights into kdl models."""

import os
from collections.abc import Mapping

import numpy as np

from kdl.applications.weights.torch_file import read_state_dict

# Keras's name of a weight → PyTorch's, within one layer.
_TORCH_WEIGHT = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def load_torch_weights(model, state):
    """Fills a model of `kdl.applications` with the weights of its PyTorch reference.

    Layouts are converted: convolution `OIHW → HWIO`, depthwise `C1HW → HWC1`, linear `OI → IO`,
    batch norm's `weight, bias, running_mean, running_var → gamma, beta, moving_mean,
    moving_variance`. Every tensor is checked before the first one is set, so that a file that does
    not fit leaves the model as it was. A model without top takes a file with one.

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
    if not hasattr(model, "torch_names"):
        raise ValueError(
            f"load_torch_weights fills models of kdl.applications; received a "
            f"{type(model).__name__}, whose PyTorch names are not known."
        )
    arrays = _as_arrays(state)
    origin = f"{os.fspath(state)}" if isinstance(state, str | os.PathLike) else "the state dict"
    names = model.torch_names()
    values, used = [], set()
    for variable, name in _weights_with_names(model, names):
        if name not in arrays:
            raise ValueError(
                f"{name!r} is missing from {origin}: it belongs to another network or variant than "
                f"{model.name}, or is incomplete."
            )
        values.append(_to_keras(arrays[name], variable, name, origin))
        used.add(name)
    _check_nothing_left(arrays, used, names, model, origin)
    for (variable, _), value in zip(_weights_with_names(model, names), values, strict=True):
        variable.assign(value)


def _as_arrays(state):
    if isinstance(state, str | os.PathLike):
        return read_state_dict(state)
    if not isinstance(state, Mapping):
        raise ValueError(
            f"state must be a path or a mapping of names to arrays; received a "
            f"{type(state).__name__}."
        )
    return {name: _as_array(value) for name, value in state.items()}


def _as_array(value):
    if hasattr(value, "detach"):  # a PyTorch tensor, possibly bfloat16, which NumPy lacks
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
    return np.asarray(value)


def _weights_with_names(model, names):
    """Yields each weight of `model` with the name of its PyTorch tensor."""
    for layer in model.layers:
        for variable in layer.weights:
            # Variable paths begin with the scopes in which the model was built, if any.
            path = variable.path.split("/")
            path = path[path.index(layer.name) :]
            module = names.get("/".join(path[:-1]))
            if module is None:
                if path[-1] == "seed_generator_state":
                    continue
                raise ValueError(f"No PyTorch name is known for {variable.path}.")
            yield variable, f"{module}.{_TORCH_WEIGHT[path[-1]]}"


def _to_keras(array, variable, name, origin):
    shape = tuple(variable.shape)
    if array.ndim == 4 and len(shape) == 4:
        depthwise = array.shape[1] == 1 and shape[3] == 1 and array.shape[0] == shape[2]
        array = array.transpose(2, 3, 0, 1) if depthwise else array.transpose(2, 3, 1, 0)
    elif array.ndim == 2:
        array = array.T
    if array.shape != shape:
        raise ValueError(
            f"{name!r} in {origin} has shape {array.shape} in Keras's layout where the model's "
            f"{variable.path} has {shape}: the widths, the number of classes or the variant differ."
        )
    return array


def _check_nothing_left(arrays, used, names, model, origin):
    present = {layer.name for layer in model.layers}
    absent = tuple(
        f"{torch}." for path, torch in names.items() if path.split("/")[0] not in present
    )
    for name in arrays:
        if name in used or name.endswith("num_batches_tracked") or name.startswith(absent):
            continue
        raise ValueError(
            f"{origin} holds {name!r}, which {model.name} does not have: the file belongs to "
            f"another network or variant."
        )
