"""Ensembles: bagging and deep ensembles against variance, boosting against bias.

Train one network again on other samples, and it errs elsewhere. Write y for the true label and ŷ
for the one that is given, as vectors with a single 1. Over training sets D the error rate splits
into

    E_D ½|ŷ_D − y|²  =  ½|E_D ŷ_D − y|²  +  E_D ½|ŷ_D − E_D ŷ|²
      error rate            bias²               variance

The mean of M networks, `p = Σ_m p_m / M`, lowers the variance, as far as they disagree; what all of
them get wrong stays. So the papers' claims:

- bagging (Breiman, Machine Learning 24, 1996): members trained on samples drawn with replacement
  disagree, and their mean beats each of them
- deep ensembles (Lakshminarayanan et al., 2016, arXiv 1612.01474): for networks other first weights
  are enough, on all samples
- stacking (Wolpert, Neural Networks 5, 1992): unlike networks, and an estimator that learns whom to
  believe
- boosting goes for the bias: AdaBoost (SAMME: Zhu et al., 2009) weighs up what was got wrong,
  `w ← w·exp(α [wrong])` with `α = ln((1 − e)/e) + ln(K − 1)`; gradient boosting (Friedman, Annals
  of Statistics 29, 2001) fits what is left, `F ← F + ν γ f` with `f ≈ onehot(y) − softmax(F)`.
  Their members are weak: here a network that passes all it sees through two numbers

Here all of them are trained on a few hundred images, and again on other ones, several times; all
see the same test images.

    python examples/ensembles.py                                   # digits
    python examples/ensembles.py --data cifar10.zip --images 1000
    python examples/ensembles.py --processes 2                     # members side by side

On one CPU core this takes about four minutes with PyTorch.

One run on the digits, five training sets of 200 images, ten members (the curves:
examples/results/ensembles.png):

| | test error | bias² | variance |
| --- | --- | --- | --- |
| one network | 0.091 | 0.050 | 0.040 |
| deep ensemble | 0.083 | 0.048 | 0.034 |
| bagging | 0.079 | 0.048 | 0.031 |
| stacking of two kinds | 0.081 | 0.046 | 0.035 |
| one weak network | 0.452 | 0.211 | 0.241 |
| mean of weak networks | 0.158 | 0.074 | 0.084 |
| AdaBoost of weak networks | 0.197 | 0.084 | 0.113 |
| gradient boosting of weak networks | 0.133 | 0.057 | 0.076 |

As claimed, the means of strong networks win by their variance. Bagging's members are worse than
those of the deep ensemble (0.106 against 0.091), but their mean is not. Stacking two networks does
as well as the mean of ten. Differences between these three are one or two test images of 360, and
five sets do not tell them apart.

The labels of weak networks are wrong so often that a mean of ten lowers their bias, too: most votes
are right where each single one is doubtful. Gradient boosting has less bias than this mean, as it
should. AdaBoost has not: it does not show its paper's gain here, over the plain mean of as many
members; its second one makes it worse at first.
"""

import argparse
import time

import keras
import numpy as np
from _shared import add_output, data_set, load_images, output_folder
from matplotlib.figure import Figure

from kdl.applications import macs
from kdl.ensembles import (
    AdaBoostEnsemble,
    BaggingEnsemble,
    DeepEnsemble,
    GradientBoostedEnsemble,
    StackingEnsemble,
)
from kdl.training import Comparison

CROSSENTROPY = "sparse_categorical_crossentropy"


def main():
    """Trains each ensemble on each training set; prints, draws and saves what came out."""
    arguments = parse_arguments()
    train, test = load_images(arguments)
    rows = []
    for name, make in ensembles(arguments).items():
        rows += study(name, make, train, test, arguments)
        print(f"{name}: test error {1 - rows[-1]['accuracy']:.3f}", flush=True)
    title = f"Means over {arguments.sets} training sets of {arguments.images} images"
    comparison = Comparison(rows, title)
    print(comparison)
    comparison.save(arguments.output / "results.json")
    for row in rows:
        print(f"{row['name']}: bias² {row['bias']:.4f}, variance {row['variance']:.4f}")
    plot(rows, arguments.output / "accuracy.png")
    print(f"Curves: {arguments.output / 'accuracy.png'}")


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=data_set, default="digits", help="'digits', or a zip of class folders"
    )
    parser.add_argument("--size", type=int, default=16, help="height and width of the images")
    parser.add_argument("--images", "--images", type=int, default=200, help="in each set")
    parser.add_argument("--sets", type=int, default=5, help="training sets")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--limit", type=int, help="images from which the sets are drawn")
    parser.add_argument("--processes", type=int, help="train so many members side by side")
    add_output(parser)
    arguments = parser.parse_args()
    arguments.output = output_folder(arguments, "ensembles")
    if arguments.smoke:
        arguments.epochs, arguments.members, arguments.sets = 10, 2, 2
        arguments.images, arguments.limit = 60, 120
    return arguments


def ensembles(arguments):
    """Dict: name → function of a seed that makes the ensemble."""
    members, fit = arguments.members, {"epochs": arguments.epochs}
    mixed = [("convolutions", network), ("dense", dense_network)]
    return {
        "deep ensemble": lambda seed: DeepEnsemble(network, members, fit, seed=seed),
        "bagging": lambda seed: BaggingEnsemble(network, members, fit, seed=seed),
        "stacking": lambda seed: StackingEnsemble(mixed, cv=3, fit_arguments=fit, seed=seed),
        "weak networks' mean": lambda seed: DeepEnsemble(weak_network, members, fit, seed=seed),
        "AdaBoost": lambda seed: AdaBoostEnsemble(weak_network, members, fit, seed=seed),
        "gradient boosting": lambda seed: GradientBoostedEnsemble(
            weak_regressor, members, fit, learning_rate=0.7, seed=seed
        ),
    }


# The first member of these is also a row of its own: what one network does alone.
ALONE = {"deep ensemble": "one network", "weak networks' mean": "one weak network"}


def network(input_shape, classes):
    """Two convolutions: enough to learn a few hundred images by heart."""
    x = inputs = keras.Input(input_shape)
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Flatten()(x)
    return compiled(inputs, keras.layers.Dense(classes, activation="softmax")(x), 0.003)


def dense_network(input_shape, classes):
    """No convolution at all, which errs elsewhere."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(inputs))
    return compiled(inputs, keras.layers.Dense(classes, activation="softmax")(x), 0.003)


def weak_network(input_shape, classes):
    """All that it sees must pass through two numbers."""
    return compiled(*weak_features(input_shape, classes, "softmax"), 0.01)


def weak_regressor(input_shape, outputs):
    """The same with linear outputs, for residuals."""
    return compiled(*weak_features(input_shape, outputs, None), 0.01, "mse")


def weak_features(input_shape, outputs, activation):
    """Input and output of a weak network."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    x = keras.layers.Dense(2)(keras.layers.Flatten()(x))
    return inputs, keras.layers.Dense(outputs, activation=activation)(x)


def compiled(inputs, outputs, learning_rate, loss=CROSSENTROPY):
    """A model, ready for `fit`."""
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(learning_rate), loss)
    return model


def study(name, make, train, test, arguments):
    """The rows of an ensemble, and of its first member alone where that has a name."""
    start, outputs, stages = time.monotonic(), [], []
    classes = int(test[1].max()) + 1
    for number in range(arguments.sets):
        taken = np.random.default_rng(number).permutation(len(train[0]))[: arguments.images]
        ensemble = make(number).fit(train[0][taken], train[1][taken], executor=arguments.processes)
        stages.append([spread(p, ensemble.classes_, classes) for p in staged(ensemble, test[0])])
        outputs.append(stages[-1][-1])
    seconds = (time.monotonic() - start) / arguments.sets
    truth = np.eye(classes)[test[1]]
    together = row(name, outputs, stages, truth, ensemble.members_, seconds)
    if name not in ALONE:
        return [together]
    firsts = [stage[0] for stage in stages]
    share = seconds / len(ensemble.members_)
    alone = row(ALONE[name], firsts, [[p] for p in firsts], truth, ensemble.members_[:1], share)
    return [alone, together]


def staged(ensemble, x):
    """Probabilities of the first member, of the first two, and so on."""
    if hasattr(ensemble, "staged_predict_proba"):
        yield from ensemble.staged_predict_proba(x)
    elif hasattr(ensemble, "predict_members"):
        sums = np.cumsum(ensemble.predict_members(x), 0)
        yield from (total / count for count, total in enumerate(sums, 1))
    else:
        yield ensemble.predict_proba(x)


def spread(probabilities, found, classes):
    """Probabilities of all classes, though a training set may lack some."""
    full = np.zeros((len(probabilities), classes))
    full[:, found] = probabilities
    return full


def row(name, outputs, stages, truth, members, seconds):
    """A row of the table: accuracy, bias² and variance over the training sets."""
    labels = truth.argmax(-1)
    given = np.eye(truth.shape[1])[[p.argmax(-1) for p in outputs]]
    mean = given.mean(0)
    longest = max(map(len, stages))
    # Boosting may have ended early: it stays where it ended.
    filled = [stage + stage[-1:] * (longest - len(stage)) for stage in stages]
    errors = [[float((p.argmax(-1) != labels).mean()) for p in stage] for stage in filled]
    return {
        "name": name,
        "parameters": sum(model.count_params() for model in members),
        "macs": sum(macs(model) for model in members),
        "accuracy": float((given.argmax(-1) == labels).mean()),
        "seconds": seconds,
        "bias": float(((mean - truth) ** 2).sum(-1).mean() / 2),
        "variance": float(((given - mean) ** 2).sum(-1).mean() / 2),
        "errors": np.mean(errors, 0).tolist(),
    }


def plot(rows, path):
    """Test error over the number of members, and what the error is made of."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for each in rows:
        if len(each["errors"]) > 1:
            counts = range(1, len(each["errors"]) + 1)
            left.plot(counts, each["errors"], marker="o", label=each["name"])
        elif each["name"] not in ALONE.values():
            left.axhline(each["errors"][0], linestyle="--", color="gray", label=each["name"])
    left.set_xlabel("members")
    left.set_ylabel("test error")
    left.set_yscale("log")
    left.yaxis.set_major_formatter("{x:.2g}")
    left.yaxis.set_minor_formatter("{x:.2g}")
    left.grid(alpha=0.3)
    left.legend()
    names = [each["name"] for each in rows]
    bias, variance = ([each[part] for each in rows] for part in ("bias", "variance"))
    right.barh(names, bias, label="bias²")
    right.barh(names, variance, left=bias, label="variance")
    right.invert_yaxis()
    right.set_xlabel("test error")
    right.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
