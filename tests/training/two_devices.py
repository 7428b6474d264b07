"""Trains small networks on two devices and saves their weights: `two_devices.py FILE`.

`tests/training/test_distribute.py` runs this in processes of its own, since devices can be made of
the processor only before anything is computed, and compares with training on one device.
"""

import sys

import keras
import numpy as np

from kdl.layers import (
    CentralizedConv2D,
    MovingAverageBatchNormalization,
    SwitchableNormalization,
    SyncBatchNormalization,
)
from kdl.ops.replicas import replica_number
from kdl.training import distribute

SUMMED = "synchronised batch, loss summed"
NORMS = {
    "batch": keras.layers.BatchNormalization,
    "synchronised batch": SyncBatchNormalization,
    SUMMED: SyncBatchNormalization,
    "switchable": SwitchableNormalization,
    "synchronised switchable": lambda: SwitchableNormalization(synchronized=True),
    "moving average": lambda: MovingAverageBatchNormalization(
        buffer_size=2, warmup_steps=0, correction_steps=4, synchronized=True
    ),
}
STEPS, BATCH = 10, 8


def train(kind):
    """Weights after ten steps of one kind of norm, with momentum, on whatever is in force."""
    inputs = keras.Input((6, 6, 3))
    x = inputs
    for strides in (1, 2):
        conv = CentralizedConv2D if kind == "moving average" else keras.layers.Conv2D
        x = conv(8, 3, strides=strides, use_bias=False, data_format="channels_last")(x)
        x = keras.layers.ReLU()(NORMS[kind]()(x))
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if len(variable.shape) > 1 and variable.name == "kernel":
            variable.assign(rng.normal(0, 0.3, variable.shape))
    reduction, rate = ("sum", 0.05 / BATCH) if kind == SUMMED else ("sum_over_batch_size", 0.05)
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction),
    )
    x = rng.normal(1, 2, (STEPS * BATCH, 6, 6, 3)).astype("float32")
    # The halves of each batch differ, as parts of a batch do where images come in an order.
    x[np.arange(len(x)) % BATCH >= BATCH // 2] *= 2.0
    y = rng.integers(0, 3, STEPS * BATCH)
    history = model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    loss = np.float32(history.history["loss"])
    return model.get_weights() if kind == SUMMED else [*model.get_weights(), loss]


def main(path):
    with distribute(2) as count:
        found = {kind: train(kind) for kind in NORMS}
    if replica_number() == 0:
        flat = {f"{kind}/{i}": w for kind, weights in found.items() for i, w in enumerate(weights)}
        np.savez(path, count=count, **flat)


if __name__ == "__main__":
    main(sys.argv[1])
