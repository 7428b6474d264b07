"""Parity of a single block with a reference's module, by a golden file of weights and output."""

import json
import pathlib

import keras
import numpy as np
from golden import stand_in


def check_parity(golden, block, names):
    """Asserts that a block, given the reference's weights, gives the reference's output.

    Args:
        golden: Name of the golden file.
        block: The block, channels last, not built.
        names: Dict: name of each sub-layer with weights → name of the reference's module.
    """
    state, expected, x = _load(golden)
    block.build(x.shape)
    left = set(state)
    for weight in block.weights:
        layer, kind = weight.path.split("/")[-2:]
        name = f"{names[layer]}.{stand_in.SUFFIXES[kind]}"
        value = state[name]
        weight.assign(value.transpose(2, 3, 1, 0) if value.ndim == 4 else value)
        left.remove(name)
    assert all(name.endswith("num_batches_tracked") for name in left)
    found = keras.ops.convert_to_numpy(block(x))
    error = np.abs(found - expected).max() / expected.std()
    print(f"{golden}: {error:.1e}")
    assert error <= 1e-5


def _load(golden):
    data = np.load(pathlib.Path(__file__).parent / f"{golden}.npz")
    meta = json.loads(bytes(data["meta"]).decode())
    state = {name: stand_in.tensor(name, tuple(shape)) for name, shape in meta["tensors"]}
    rng = np.random.Generator(np.random.PCG64(7))
    return state, data["output"], rng.standard_normal(meta["shape"]).astype(np.float32)
