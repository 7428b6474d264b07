"""Models with random weights, such as Keras's own, and files as `keras.applications` has them."""

import gzip
import json
import pathlib

import keras
import numpy as np


def read(name):
    """The model whose configuration, `get_config()`, is in the golden file `name`.

    `keras_nasnet` is what Keras 3.15 builds its NASNets with, for an image of 65×48, of 96 filters,
    2 blocks and 4 filters in the stem, without the reduction that is left out, 20 logits. Of its
    public functions one is too large for a test, and the other refuses PyTorch.
    """
    content = (pathlib.Path(__file__).parent / f"{name}.json.gz").read_bytes()
    return keras.Model.from_config(json.loads(gzip.decompress(content)))


def randomize(model, seed=0):
    """Gives every weight random values, statistics of batch norm included; returns the model."""
    rng = np.random.Generator(np.random.PCG64(seed))
    for layer in model.layers:
        for weight in layer.weights:
            shape = tuple(weight.shape)
            if weight.name in ("gamma", "moving_variance"):
                value = rng.uniform(0.8, 1.2, shape)
            elif len(shape) < 2:
                value = 0.1 * rng.standard_normal(shape)
            else:
                inputs = shape[:2] if _is_depthwise(weight) else shape[:-1]
                value = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(inputs))
            weight.assign(value.astype("float32"))
    return model


def write_h5(model, path, rename=lambda layer: layer, whole=False):
    """Writes weights in the format of Keras 1 and 2: `layer/layer/kernel:0`.

    Args:
        model: The model.
        path: The file.
        rename: Function of a layer's name that gives its name in the file.
        whole: Whether as in the file of a whole model, under `model_weights`.
    """
    import h5py

    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = [rename(layer.name).encode() for layer in model.layers]
        for layer in model.layers:
            name = rename(layer.name)
            group, names = root.create_group(name), []
            for weight in layer.weights:
                short = "depthwise_kernel" if _is_depthwise(weight) else weight.name
                names.append(f"{name}/{short}:0".encode())
                group[names[-1].decode()] = keras.ops.convert_to_numpy(weight)
            group.attrs["weight_names"] = names


def _is_depthwise(weight):
    return len(weight.shape) == 4 and weight.shape[-1] == 1
