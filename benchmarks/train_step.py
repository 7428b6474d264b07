"""A training step of ShuffleNet V2 1.0x in kdl, beside the same network in stock Keras layers.

    KERAS_BACKEND=jax python benchmarks/train_step.py

Batch 8 at 224². Both networks live in one process and take turns, so that whatever else the machine
does hits both; of each the shortest step counts. `make bench` runs it on every backend and writes
`benchmarks/results/train_step.md`.
"""

import argparse
import json
import os
import time

import keras
import numpy as np
from keras import layers

import kdl

BATCH = 8


def main():
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    models = {"kdl": kdl.applications.ShuffleNetV2(classifier_activation=None), "keras": stock()}
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, 224, 224, 3)).astype("float32")
    y = rng.integers(0, 1000, BATCH)
    result = {"backend": keras.backend.backend(), "device": device()}
    for model in models.values():
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    result["compile_s"] = {
        name: timed(lambda m=m: m.train_on_batch(x, y)) for name, m in models.items()
    }
    result["train_ms"] = alternate(models, lambda m: m.train_on_batch(x, y), rounds)
    result["predict_ms"] = alternate(models, lambda m: m.predict_on_batch(x), rounds)
    print(json.dumps(result))


def alternate(models, step, rounds):
    """Shortest time an image in ms, the models taking turns."""
    times = {name: [] for name in models}
    for _ in range(rounds + 2):
        for name, model in models.items():
            times[name].append(1e3 * timed(lambda m=model: step(m)) / BATCH)
    return {name: min(values[2:]) for name, values in times.items()}


def timed(call):
    """Seconds that `call` takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def device():
    """What it runs on, in words."""
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    else:
        found = [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]
        if found:
            return ", ".join(found)
    return f"{os.cpu_count()} CPU cores"


def stock():
    """The network as a Keras user would write it."""
    inputs = keras.Input((224, 224, 3))
    x = normalized(layers.Conv2D(24, 3, 2, use_bias=False)(layers.ZeroPadding2D(1)(inputs)))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(layers.ReLU()(x)))
    for filters, repeats in ((116, 4), (232, 8), (464, 4)):
        for position in range(repeats):
            x = unit(x, filters, 2 if position == 0 else 1)
    x = layers.GlobalAveragePooling2D()(pointwise(x, 1024))
    return keras.Model(inputs, layers.Dense(1000)(x))


def unit(x, filters, strides):
    """A unit of stock layers."""
    half = filters // 2
    passed, branch = (x, x) if strides == 2 else keras.ops.split(x, 2, axis=-1)
    if strides == 2:
        passed = pointwise(depthwise(x, 2), half)
    branch = pointwise(depthwise(pointwise(branch, half), strides), half)
    x = layers.Concatenate()([passed, branch])
    height, width, channels = x.shape[1:]
    x = layers.Reshape((height, width, 2, channels // 2))(x)
    x = layers.Permute((1, 2, 4, 3))(x)
    return layers.Reshape((height, width, channels))(x)


def pointwise(x, filters):
    """1×1 convolution, batch norm, ReLU."""
    return layers.ReLU()(normalized(layers.Conv2D(filters, 1, use_bias=False)(x)))


def depthwise(x, strides):
    """3×3 depthwise convolution and batch norm, padded as PyTorch pads."""
    if strides == 2:
        x = layers.ZeroPadding2D(1)(x)
    padding = "same" if strides == 1 else "valid"
    conv = layers.DepthwiseConv2D(3, strides=strides, padding=padding, use_bias=False)
    return normalized(conv(x))


def normalized(x):
    """Batch norm with the reference's constants."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


if __name__ == "__main__":
    main()
