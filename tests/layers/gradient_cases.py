"""Layers whose gradients must be the same on every backend.

    KERAS_BACKEND=torch python tests/layers/gradient_cases.py

writes `tests/golden/gradients.npz`: gradients in float64, which `test_gradient_cases.py` holds to
finite differences and compares with those of each backend in float32.
"""

import pathlib

import numpy as np

from kdl.layers import (
    CentralizedConv2D,
    CoupledLSTM,
    MixedPooling,
    PeepholeLSTM,
    StripPooling,
    SwitchableNormalization,
    SyncBatchNormalization,
)
from kdl.testing._gradients import gradients

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "gradients.npz"

LAST = {"data_format": "channels_last"}

# Name → (class, arguments, shape of the input).
CASES = {
    "switchable, vectors": (SwitchableNormalization, {}, (6, 5)),
    "switchable": (SwitchableNormalization, {}, (3, 4, 5, 2)),
    "switchable, unbiased": (SwitchableNormalization, {"unbiased": True}, (3, 4, 5, 2)),
    "switchable, without batch": (
        SwitchableNormalization,
        {"use_batch_norm": False},
        (3, 4, 5, 2),
    ),
    "synchronized": (SyncBatchNormalization, {}, (4, 3, 3, 2)),
    "peephole LSTM": (PeepholeLSTM, {"units": 3, "return_sequences": True}, (2, 4, 2)),
    "coupled LSTM": (CoupledLSTM, {"units": 3, "use_peepholes": True}, (2, 4, 2)),
    "strip pooling": (StripPooling, LAST, (3, 4, 5, 4)),
    "mixed pooling": (MixedPooling, {"pool_sizes": (3, 2), **LAST}, (4, 7, 6, 8)),
    "centered": (CentralizedConv2D, {"filters": 3, "kernel_size": 2}, (2, 4, 4, 2)),
}


def make(name, dtype):
    """The layer of a case with randomized weights, and an input."""
    cls, arguments, shape = CASES[name]
    layer = cls(**arguments, dtype=dtype)
    layer.build(shape)
    rng = np.random.default_rng(0)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(0.5, 0.5, weight.shape).astype(dtype))
    return layer, rng.normal(1, 2, shape).astype(dtype)


def call(layer):
    """The layer as in training, with state that does not count."""
    if "training" in type(layer).call.__code__.co_varnames:
        return lambda x: layer(x, training=True)
    return layer


def found(name, dtype):
    """Gradients of a case: those of the trainable weights, then that of the input."""
    layer, x = make(name, dtype)
    weights, inputs = gradients(call(layer), layer.trainable_weights, x)
    return [*weights, *inputs]


if __name__ == "__main__":
    saved = {f"{name}/{i}": g for name in CASES for i, g in enumerate(found(name, "float64"))}
    np.savez_compressed(GOLDEN, **saved)
