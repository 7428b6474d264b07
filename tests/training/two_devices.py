"""Trains small networks on two devices and saves their weights: `two_devices.py FILE`.

`test_distribute.py` runs this in processes of its own, since devices can be made of the CPU only
before anything is computed, and compares with training on one device. One start serves all norms,
all losses and all models that train others.
"""

import pathlib
import sys

import keras
import numpy as np

from kdl import compression
from kdl.data import Mixup
from kdl.layers import (
    CentralizedConv2D,
    FakeQuantize,
    L2Normalization,
    MovingAverageBatchNormalization,
    SwitchableNormalization,
    SyncBatchNormalization,
)
from kdl.losses import FocalLoss, MixupCrossentropy
from kdl.ops.replicas import replica_number
from kdl.training import distribute

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import loss_cases

SUMMED = "synchronized batch, loss summed"
NORMS = {
    "batch": keras.layers.BatchNormalization,
    "synchronized batch": SyncBatchNormalization,
    SUMMED: SyncBatchNormalization,
    "switchable": SwitchableNormalization,
    "synchronized switchable": lambda: SwitchableNormalization(synchronized=True),
    "l2": L2Normalization,
    "moving average": lambda: MovingAverageBatchNormalization(
        buffer_size=2, warmup_steps=0, correction_steps=4, synchronized=True
    ),
}
STEPS, BATCH = 10, 8


def train(kind):
    """Weights after ten steps of one kind of norm, with momentum, on whatever is in force."""
    inputs = keras.Input((6, 6, 3))
    conv = CentralizedConv2D if kind == "moving average" else keras.layers.Conv2D
    x = conv(8, 3, strides=2, use_bias=False, data_format="channels_last")(inputs)
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
    return [*model.get_weights(), np.float32(history.history["loss"])]


def dense(seed, width, **arguments):
    """A small network with weights that are not zero."""
    layers = [keras.layers.Dense(width, "relu", **arguments), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((1, 2, 3)), keras.layers.Flatten(), *layers])
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model


def rounded():
    """A network that observes what comes in and what is inside, and rounds both."""
    observers = [FakeQuantize(observer="min_max"), FakeQuantize(momentum=0.8)]
    first, second = keras.layers.Dense(8, "relu"), keras.layers.Dense(3)
    flat = [keras.Input((1, 2, 3)), keras.layers.Flatten()]
    model = keras.Sequential([*flat, observers[0], first, observers[1], second])
    first.set_weights(dense(0, 8).get_weights()[:2])
    second.set_weights(dense(0, 8).get_weights()[2:])
    return model


def pruned():
    return compression.prune(dense(0, 8), compression.ConstantSparsity(0.5))


# Models around another, and what else comes between data and loss.
WRAPPERS = {
    "PrunedModel": pruned,
    "Distillation": lambda: compression.distill(dense(0, 8), dense(1, 16), from_logits=True),
    "Distillation of a PrunedModel": lambda: compression.distill(
        pruned(), dense(1, 16), from_logits=True
    ),
    "FakeQuantize": rounded,
    "regularized": lambda: dense(0, 8, kernel_regularizer=keras.regularizers.L2(0.1)),
    "regularized, loss summed": lambda: dense(0, 8, kernel_regularizer=keras.regularizers.L2(0.1)),
    "Mixup": lambda: dense(0, 8),
    "validated": lambda: dense(0, 8),
}


def train_wrapped(kind):
    """Weights after five steps of a wrapper, and the losses reported."""
    model = WRAPPERS[kind]()
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (5 * BATCH, 1, 2, 3)).astype("float32")
    x[np.arange(len(x)) % BATCH >= BATCH // 2] *= 3.0
    y = rng.integers(0, 3, len(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if kind.endswith("summed"):
        loss.reduction = "sum"
    data = {"x": x, "y": y, "batch_size": BATCH}
    if kind == "Mixup":
        loss = MixupCrossentropy(from_logits=True)
        data["x"], data["y"] = Mixup(1.0, per_sample=True)(x, y, rng)
    if kind == "validated":
        loss = FocalLoss(
            from_logits=True, normalize_by_positives=True, reduction="sum", background_class=0
        )
        data["validation_data"] = (x[BATCH:], y[BATCH:])
    model.compile(keras.optimizers.SGD(0.02), loss)
    history = model.fit(**data, epochs=2, shuffle=False, verbose=0).history
    losses = [np.float32(history[name]) for name in ("loss", "val_loss") if name in history]
    return [*model.get_weights(), *losses]


def skip_rewriting_of_graphs():
    """As `conftest.py` does for the tests."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def train_all(losses):
    """Dict of all that was trained: kind → arrays, the last of which are losses."""
    found = {kind: train(kind) for kind in NORMS}
    found |= {kind: train_wrapped(kind) for kind in WRAPPERS}
    return found | loss_cases.train(losses)


def main(path):
    if keras.backend.backend() == "tensorflow":
        skip_rewriting_of_graphs()
    with distribute(2) as count:
        losses = loss_cases.cases()
        found = train_all(losses)
        if keras.backend.backend() == "jax":
            mapped = loss_cases.mapped(loss_cases.of_whole_batches(losses))
            found |= {f"{kind}, mapped": arrays for kind, arrays in mapped.items()}
    if replica_number() == 0:
        flat = {f"{kind}/{i}": w for kind, weights in found.items() for i, w in enumerate(weights)}
        np.savez(path, count=count, **flat)


if __name__ == "__main__":
    main(sys.argv[1])
