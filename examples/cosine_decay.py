"""The learning rate: in steps, as a cosine, and with a warm-up before it.

Trainings long let the rate fall in steps, to a tenth twice. Loshchilov and Hutter (2017, arXiv
1608.03983) let it follow half a cosine; He et al. (2019, "Bag of Tricks", arXiv 1812.01187) begin
with a warm-up of a few epochs, since large rates do harm while the weights are still random:

    η(t) = η t / m                                    for t < m            (warm-up)
    η(t) = ½ η (1 + cos(π (t − m) / (T − m)))         for m ≤ t < T        (`WarmUpCosine`)

They raise the rate with the batch, η = 0.1 · batch / 256, and report for ResNet-50-D on ImageNet
77.16 % with steps and 77.91 % with the cosine. What else they do, Keras has:
`BatchNormalization(gamma_initializer="zeros")` at the end of residual branches, and
`optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])`.

This script trains one small network without normalisation by each schedule, with a large rate and
with one four times as large, from several starts.

    python examples/cosine_decay.py                          # digits
    python examples/cosine_decay.py --data cifar10.zip --limit 5000

One run on the digits with PyTorch, two minutes on one processor core: median and mean test accuracy
of four starts after ten epochs.

                       peak 0.05          peak 0.2
    steps              0.908, 0.772       0.237, 0.369
    cosine             0.943, 0.875       0.700, 0.617
    warm-up, cosine    0.944, 0.828       0.896, 0.832

With the larger rate three of four trainings in steps come to nothing, and the warm-up saves what
the cosine alone does not. With the smaller one steps are worse than the cosine, but the warm-up is
no gain: one start of each schedule goes wrong, which moves the means more than all else. (Curves:
examples/results/cosine_decay.png; the points are the starts.) Such differences are those of a short
training at its limit, not the fraction of a point that the papers found.
"""

import json
import math
import time

import keras
import numpy as np
from _study import parse_arguments, print_table, read_data

from kdl.applications import macs
from kdl.data import ArrayDataset, RandomShift
from kdl.training import WarmUpCosine

SEEDS = 4


def steps(rate, total):
    """A tenth after half of the training, a hundredth after three quarters."""
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [total // 2, 3 * total // 4], [rate, rate / 10, rate / 100]
    )


def cosine(rate, total):
    """From the first step on."""
    return WarmUpCosine(rate, total)


def warm_up_cosine(rate, total):
    """With a warm-up over a fifth of the training."""
    return WarmUpCosine(rate, total, warm_up_steps=total // 5)


SCHEDULES = {"steps": steps, "cosine": cosine, "warm-up, cosine": warm_up_cosine}


def build(shape, classes):
    """Four convolutions; no norm, which would bear any rate."""
    x = inputs = keras.Input(shape)
    for filters, strides in ((16, 1), (32, 2), (32, 1), (64, 2)):
        x = keras.layers.Conv2D(
            filters,
            3,
            strides=strides,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
        )(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


def train(name, rate, data, arguments):
    """The row of one schedule: the mean over the starts."""
    train_set, test_set, classes = data
    dataset_steps = math.ceil(len(train_set[0]) / arguments.batch_size)
    total = arguments.epochs * dataset_steps
    start = time.monotonic()
    histories = []
    for seed in range(arguments.seeds):
        keras.utils.set_random_seed(seed)
        model = build(train_set[0].shape[1:], classes)
        cost = macs(model)
        shift = RandomShift(max(arguments.size // 16, 1))
        dataset = ArrayDataset(*train_set, arguments.batch_size, seed=seed, augment=shift)
        model.compile(
            keras.optimizers.SGD(SCHEDULES[name](rate, total), momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        history = model.fit(
            dataset, validation_data=test_set, epochs=arguments.epochs, shuffle=False, verbose=0
        )
        histories.append(history.history["val_accuracy"])
        print(f"{name}, rate {rate:g}, start {seed}: {histories[-1][-1]:.4f}")
    return {
        "name": f"{name}, {rate:g}",
        "parameters": model.count_params(),
        "macs": cost,
        "accuracy": float(np.mean([each[-1] for each in histories])),
        "accuracies": [each[-1] for each in histories],
        "seconds": time.monotonic() - start,
        "history": np.mean(histories, 0).tolist(),
        "schedule": name,
        "rate": rate,
    }


def plot(rows, rates, total, path):
    """The schedules, and the accuracies with each peak."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    left, *panels = figure.subplots(1, 1 + len(rates))
    for name, schedule in SCHEDULES.items():
        values = [float(schedule(1.0, total)(step)) for step in range(total)]
        left.plot(values, label=name)
    left.set(xlabel="step", ylabel="rate / peak", title="schedules")
    left.legend()
    for axes, rate in zip(panels, rates, strict=True):
        for row in (each for each in rows if each["rate"] == rate):
            epochs = range(1, len(row["history"]) + 1)
            [line] = axes.plot(epochs, row["history"], label=row["schedule"])
            ends = [epochs[-1]] * len(row["accuracies"])
            axes.plot(ends, row["accuracies"], "o", color=line.get_color(), markersize=4)
        axes.set(xlabel="epoch", ylabel="test accuracy", title=f"peak {rate:g}")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main():
    """Trains, prints, draws."""
    arguments = parse_arguments(__doc__, "cosine_decay", size=16, epochs=10, learning_rate=0.05)
    arguments.seeds = 1 if arguments.smoke else SEEDS
    data = read_data(arguments)
    rates = (arguments.learning_rate, 4 * arguments.learning_rate)
    rows = [train(name, rate, data, arguments) for rate in rates for name in SCHEDULES]
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(rows, indent=1))
    print_table(rows, f"Schedules of the learning rate, mean of {arguments.seeds} starts")
    plot(rows, rates, 200, arguments.output / "accuracy.png")
    print(f"Curves: {arguments.output / 'accuracy.png'}")


if __name__ == "__main__":
    main()
