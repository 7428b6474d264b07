"""Weights of `keras.applications` as named arrays."""

import os
import pathlib

import keras
import numpy as np


def read_keras_weights(source):
    """Reads the weights of a Keras model, or of a legacy `.h5` file of `keras.applications`.

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
        return _read_h5(path)
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{os.fspath(path)} is not a file of weights as keras.applications publishes them, or "
            f"is damaged ({error}): download it again."
        ) from error


def _read_h5(path):
    import h5py

    arrays = {}
    with h5py.File(path, "r") as file:
        group = file.get("model_weights", file)
        for layer in _texts(group.attrs["layer_names"]):
            for name in _texts(group[layer].attrs["weight_names"]):
                # Names end in "…/kernel:0"; TensorFlow counted the weights of a name.
                short = name.rsplit("/", 1)[-1].split(":")[0]
                arrays[f"{layer}.{short}"] = np.asarray(group[layer][name])
    if not arrays:
        raise ValueError("it names no weights")
    return arrays


def _texts(attribute):
    return [text.decode() if isinstance(text, bytes) else str(text) for text in attribute]
