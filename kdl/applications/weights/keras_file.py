"""Reading of the weights of `keras.applications` as named arrays."""

import math
import os
import pathlib

import keras
import numpy as np

from kdl._typing import Path
from kdl.applications.weights.hdf5_file import open_hdf5

# Far more than the names of any network's weights take.
_MOST_TEXT = 16 << 20


def read_keras_weights(source: keras.Model | Path) -> dict[str, np.ndarray]:
    """Read the weights of a Keras model, or of a legacy `.h5` file of `keras.applications`.

    Args:
        source: A `keras.Model`, or the path of an HDF5 file of weights, as `keras.applications`
            publishes them.

    Returns:
        Dict of `"layer.weight"` → array, such as `"conv1_bn.gamma"`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or holds no layers' weights.
    """
    if isinstance(source, keras.Model):
        return {
            f"{layer.name}.{weight.name}": keras.ops.convert_to_numpy(weight)
            for layer in source.layers
            for weight in layer.weights
        }
    path = pathlib.Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: check the path, or download the file.")
    try:
        with open_hdf5(path) as file:
            return _read_h5(file)
    # What is damaged can fail in nearly any way.
    except Exception as error:
        raise ValueError(
            f"{os.fspath(path)} is not a file of weights as keras.applications publishes them, or "
            f"is damaged ({error}): download it again."
        ) from error


def _read_h5(file):
    arrays, seen = {}, set()
    group = file.get("model_weights", file)
    for layer in _texts(group, "layer_names"):
        for name in _texts(group[layer], "weight_names"):
            # Names end in "…/kernel:0"; TensorFlow counted the weights of a name.
            short = name.rsplit("/", 1)[-1].split(":")[0]
            data = group[layer][name]
            # The bound on what a file describes holds as long as each is read once.
            if data.id in seen:
                raise ValueError(f"{name!r} has two names")
            seen.add(data.id)
            if data.dtype.kind not in "fiub":
                raise ValueError(f"{name!r} holds no numbers")
            arrays[f"{layer}.{short}"] = np.asarray(data)
    if not arrays:
        raise ValueError("it names no weights")
    return arrays


def _texts(group, name):
    attribute = group.attrs.get_id(name)
    if math.prod(attribute.shape) * attribute.dtype.itemsize > _MOST_TEXT:
        raise ValueError(f"the attribute {name} is larger than the names of any network")
    texts = group.attrs[name]
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]
