"""Distillation and pruning: a small network taught by a large one, and a large one thinned out.

A trained network knows more than its label says: this is a 3, and it looks a little like an 8.
Hinton et al., 2015 (arXiv 1503.02531) let a small network learn that too. With the logits `z_t` of
the trained teacher, `z_s` of the student and a temperature `T` that makes the small probabilities
count,

    L = α · CE(y, z_s) + (1 − α) · T² · KL(softmax(z_t / T) ‖ softmax(z_s / T))

Zhu and Gupta, 2017 (arXiv 1710.01878) take weights away instead. While a network trains, those of
smallest magnitude are set to zero, a share `s_t` of them after step `t`, fast at first:

    s_t = s_f · (1 − (1 − (t − t₀) / (t₁ − t₀))³)

Their claim: a large network with most weights at zero beats a small one with as many left.

This script trains a plain convolutional teacher and a student a quarter as wide, the student once
alone, once distilled and once pruned by half. The trained teacher is pruned by three quarters, and
until it has about as many weights as the student. All train for the same number of epochs.

    python examples/distillation_and_pruning.py                        # digits
    python examples/distillation_and_pruning.py --data cifar10.zip --epochs 30

What it costs: distillation needs the trained teacher and its outputs in every step, in training
only; the student that remains is as small and as fast as the one that learned alone. Pruning keeps
a mask in training, and saves storage only where zeros are packed, as the last lines do: a CPU
multiplies by zero as slowly as by any other number, so the multiply-adds stay.

One run with PyTorch, some five minutes of CPU time (curves:
examples/results/distillation_and_pruning.png):

                          accuracy    packed weights
    teacher                 0.997         92 kB
    student alone           0.972          7 kB
    student distilled       0.978          7 kB
    student pruned 50%      0.969          4 kB
    teacher pruned 75%      0.994         31 kB
    teacher pruned 94%      0.919         10 kB

Three quarters of the teacher's weights could go for one digit of 360. At the size of the student
the second claim fails here: pruned so far, the teacher is worse than the student. Distillation
gained two digits of 360, which one run cannot tell from luck; digits are easy, and the labels alone
teach nearly all that there is to learn.
"""

import zlib

import keras
from _shared import load_images, make_recipe, parse_arguments, report

from kdl import layers
from kdl.compression import PolynomialSparsity, distill, measure_sparsity, prune, strip
from kdl.training import Comparison, train_and_measure

TEACHER, STUDENT = 16, 4


def main():
    """The teacher, the student in three ways, and the teacher's network pruned."""
    arguments = parse_arguments(__doc__, "distillation_and_pruning", size=16, epochs=40)
    train, test = load_images(arguments)
    recipe = make_recipe(arguments)
    steps = recipe.steps(len(train[0]))
    rows, networks = [], []

    def fresh(width):
        keras.utils.set_random_seed(0)
        return convolutional(width, train[0].shape[1:], int(train[1].max()) + 1)

    def run(name, trainer, network):
        rows.append(train_and_measure(name, trainer, train, test, recipe, trained=network))
        networks.append(network)

    def run_pruned(name, network, sparsity):
        # s_f is the sparsity; from t₀, a quarter of the steps, to t₁, three quarters; then it
        # recovers.
        begin, end = steps // 4, max(3 * steps // 4, 1)
        schedule = PolynomialSparsity(sparsity, end, begin, frequency=max(steps // 20, 1))
        pruned = prune(network, schedule)
        run(name, pruned, pruned.model)
        networks[-1] = strip(pruned)

    teacher, alone, pupil = fresh(TEACHER), fresh(STUDENT), fresh(STUDENT)
    run("teacher", teacher, teacher)
    run("student alone", alone, alone)
    # T = 4, α = 0.1. The teacher is frozen from here on; the pupil is trained in place.
    run("student distilled", distill(pupil, teacher, temperature=4, alpha=0.1), pupil)
    run_pruned("student pruned 50%", fresh(STUDENT), 0.5)
    # Weights grow with the square of the width: the second leaves about as many as a student has.
    for sparsity in (0.75, 1 - (STUDENT / TEACHER) ** 2):
        thinned = fresh(TEACHER)
        thinned.set_weights(teacher.get_weights())
        run_pruned(f"teacher pruned {sparsity:.0%}", thinned, sparsity)

    report(Comparison(rows, "One network distilled and pruned"), arguments.output)
    for row, network in zip(rows, networks, strict=True):
        zeros = measure_sparsity(network).sparsity
        size = packed_size(network) / 1e3
        print(f"{row['name']}: {zeros:.0%} of the kernels' weights are zero; packed {size:.1f} kB")


def convolutional(width, shape, classes):
    """Three 3×3 convolutions with batch norm, and a classifier."""
    x = inputs = keras.Input(shape)
    for channels, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        x = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


def packed_size(model):
    """Bytes of all weights, compressed: zeros take next to nothing."""
    return len(zlib.compress(b"".join(weight.tobytes() for weight in model.get_weights())))


if __name__ == "__main__":
    main()
