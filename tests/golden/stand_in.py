"""Weights that are made from the names of a reference network's tensors.

A golden file holds names and shapes of the reference's tensors and the outputs that it gave with
these weights, in evaluation mode, on `image(size)`. The same name and shape give the same numbers
on every machine, so that parity is tested without shipping anyone's weights.
"""

import json
import pathlib
import zlib

import numpy as np

from kdl.applications.weights.naming import resolve

# Kind of a weight in Keras → suffix of its name in PyTorch.
SUFFIXES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def load(name):
    """`(state dict, {size: logits})` of the golden file `name`."""
    data = np.load(pathlib.Path(__file__).parent / f"{name}.npz")
    meta = json.loads(bytes(data["meta"]).decode())
    state = {each: tensor(each, tuple(shape)) for each, shape in meta["tensors"]}
    return state, {int(k[len("output") :]): data[k] for k in data.files if k.startswith("output")}


def image(size, batch=2, channels=3):
    """The reference's input: float32 `(batch, size, size, channels)`."""
    rng = np.random.Generator(np.random.PCG64(size))
    return rng.standard_normal((batch, size, size, channels)).astype(np.float32)


def tensor(name, shape):
    """The stand-in for the tensor of this name and shape."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_mean"):
        return np.float32(0.1 * rng.standard_normal(shape))
    if name.endswith("running_var"):
        return np.float32(rng.uniform(0.8, 1.2, shape))
    if len(shape) >= 2:
        scale = np.sqrt(2.0 / np.prod(shape[1:]))
        return np.float32(rng.standard_normal(shape) * scale)
    if name.startswith("layer") and name.endswith("bn3.weight"):
        return np.float32(rng.uniform(0.1, 0.3, shape))
    if name.endswith("weight"):
        return np.float32(rng.uniform(0.8, 1.2, shape))
    return np.float32(0.1 * rng.standard_normal(shape))


def state_for(model, project):
    """A stand-in state dict with the names of `project`, made from kdl's own names and shapes."""
    templates = model.reference_names()[project]
    state = {}
    for weight in model.weights:
        layer, _, kind = weight.path.rpartition("/")
        shape = tuple(weight.shape)
        if len(shape) == 4:
            h, w, i, o = shape
            shape = (i, 1, h, w) if "depthwise" in layer else (o, i, h, w)
        name = f"{resolve(templates, layer)}.{SUFFIXES[kind]}"
        state[name] = tensor(name, shape[::-1] if len(shape) == 2 else shape)
    return state
