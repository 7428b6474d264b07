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

This script trains one small network without normalization by each schedule, with a large rate and
with one four times as large, from several starts.

    python examples/cosine_decay.py                          # digits
    python examples/cosine_decay.py --data cifar10.zip --limit 5000

One run on the digits with PyTorch, two minutes on one CPU core: median and mean test accuracy
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

import time

import keras
import numpy as np
from _shared import load_images, make_recipe, parse_arguments
from matplotlib.figure import Figure

from kdl.applications import macs
from kdl.training import Comparison, WarmUpCosine

SEEDS = 4
# Name → function of the peak and the number of steps that makes the schedule.
SCHEDULES = {
    "steps": lambda rate, total: keras.optimizers.schedules.PiecewiseConstantDecay(
        [total // 2, 3 * total // 4], [rate, rate / 10, rate / 100]
    ),
    "cosine": WarmUpCosine,
    "warm-up, cosine": lambda rate, total: WarmUpCosine(rate, total, warm_up_steps=total // 5),
}


def main():
    """Trains with each schedule and each peak; prints, draws and saves what came out."""
    arguments = parse_arguments(__doc__, "cosine_decay", size=16, epochs=10, learning_rate=0.05)
    seeds = 1 if arguments.smoke else SEEDS
    train, test = load_images(arguments)
    rates = (arguments.learning_rate, 4 * arguments.learning_rate)
    rows = [
        train_row(name, rate, train, test, seeds, arguments) for rate in rates for name in SCHEDULES
    ]
    comparison = Comparison(rows, f"Schedules of the learning rate, mean of {seeds} starts")
    print(comparison)
    comparison.save(arguments.output / "results.json")
    plot(rows, rates, arguments.output / "accuracy.png")
    print(f"Curves: {arguments.output / 'accuracy.png'}")


def train_row(name, rate, train, test, seeds, arguments):
    """The row of one schedule: the mean over the starts."""
    start, histories = time.monotonic(), []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        model = network(train[0].shape[1:], int(train[1].max()) + 1)
        recipe = make_recipe(arguments, seed=seed)
        schedule = SCHEDULES[name](rate, recipe.steps(len(train[0])))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = keras.optimizers.SGD(schedule, momentum=0.9)
        model.compile(optimizer, loss, metrics=["accuracy"])
        history = model.fit(
            recipe.dataset(train),
            validation_data=test,
            epochs=recipe.epochs,
            shuffle=False,
            verbose=0,
        )
        histories.append(history.history["val_accuracy"])
        print(f"{name}, rate {rate:g}, start {seed}: {histories[-1][-1]:.4f}", flush=True)
    return {
        "name": f"{name}, {rate:g}",
        "parameters": model.count_params(),
        "macs": macs(model),
        "accuracy": float(np.mean([each[-1] for each in histories])),
        "accuracies": [each[-1] for each in histories],
        "seconds": time.monotonic() - start,
        "history": np.mean(histories, 0).tolist(),
        "schedule": name,
        "rate": rate,
    }


def network(shape, classes):
    """Four convolutions; no norm, which would bear any rate."""
    x = inputs = keras.Input(shape)
    for filters, strides in ((16, 1), (32, 2), (32, 1), (64, 2)):
        convolution = keras.layers.Conv2D(
            filters, 3, strides, "same", activation="relu", kernel_initializer="he_normal"
        )
        x = convolution(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


def plot(rows, rates, path, total=200):
    """The schedules, and the accuracies with each peak."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, *panels = figure.subplots(1, 1 + len(rates))
    for name, schedule in SCHEDULES.items():
        left.plot([float(schedule(1.0, total)(step)) for step in range(total)], label=name)
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


if __name__ == "__main__":
    main()
