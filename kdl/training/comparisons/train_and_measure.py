"""One model trained and measured, as a row of a comparison."""

import time
from collections.abc import Sequence

import keras

from kdl.graph.macs import macs
from kdl.training.comparisons.recipe import Recipe


def train_and_measure(
    name: str,
    model: keras.Model,
    train: tuple,
    test: tuple,
    recipe: Recipe,
    trained: keras.Model | None = None,
    callbacks: Sequence = (),
    monitor: str = "accuracy",
    verbose: int | str = 2,
) -> dict:
    """Trains a model by a recipe and measures it: a row of `kdl.training.Comparison`.

    Args:
        name: Name of the row.
        model: What is fitted: a classifier, or a model that trains one, such as
            `kdl.compression.distill` gives it.
        train: Pair `(x, y)` of arrays.
        test: The same, measured after each epoch.
        recipe: `kdl.training.Recipe`.
        trained: What remains after training, whose parameters and multiply-adds count. Defaults to
            `model`.
        callbacks: Callbacks for `fit`.
        monitor: The metric that the row tells. Defaults to `"accuracy"`.
        verbose: As in `fit`; other than 0, the name is printed first. Defaults to 2, a line an
            epoch.

    Returns:
        Dict of `"name"`, `"parameters"`, `"macs"` (multiply-adds of one input), `"accuracy"` (the
        last on the test), `"seconds"` and `"history"` (the test's after each epoch).

    Raises:
        ValueError: If the model does not log `monitor`, or `kdl.applications.macs` cannot count it.

    Example:
        >>> import keras
        >>> from kdl.data import digits
        >>> from kdl.training import Recipe
        >>> train, test = digits(size=8)
        >>> layers = [keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
        >>> row = train_and_measure("linear", model, train, test, Recipe(2), verbose=0)
        >>> row["parameters"], row["macs"], row["accuracy"] > 0.7
        (1930, 1920, True)
    """
    trained = model if trained is None else trained
    if verbose:
        print(f"Training {name}", flush=True)
    start = time.monotonic()
    logged = recipe.fit(model, train, test, callbacks, verbose)
    seconds = time.monotonic() - start
    if f"val_{monitor}" not in logged:
        raise ValueError(
            f"monitor={monitor!r} is not logged; the recipe's metrics give {sorted(logged)}."
        )
    history = [float(value) for value in logged[f"val_{monitor}"]]
    return {
        "name": name,
        "parameters": trained.count_params(),
        "macs": macs(trained),
        "accuracy": history[-1],
        "seconds": seconds,
        "history": history,
    }
