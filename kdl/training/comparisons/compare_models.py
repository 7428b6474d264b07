"""Several networks trained alike and compared."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from kdl.training.comparisons.comparison import Comparison
from kdl.training.comparisons.recipe import Recipe
from kdl.training.comparisons.train_and_measure import train_and_measure


def compare_models(
    builds: dict[str, Callable | keras.Model],
    train: tuple,
    test: tuple,
    recipe: Recipe,
    title: str = "",
    callbacks: dict[str, Sequence] | None = None,
    seed: int = 0,
    verbose: int | str = 2,
) -> Comparison:
    """Trains several classifiers by the same recipe, from the same seed, and compares them.

    Args:
        builds: Dict: name → function of `(input_shape, classes)` that builds the model, or a model
            that is built already.
        train: Pair `(x, y)` of arrays: images and integer labels.
        test: The same, measured after each epoch.
        recipe: `kdl.training.Recipe`.
        title: Title of the comparison. Defaults to none.
        callbacks: Dict: name → list of callbacks for `fit`; None (default) for none.
        seed: Keras's random seed before each model is built. Defaults to 0.
        verbose: As in `kdl.training.train_and_measure`.

    Returns:
        `kdl.training.Comparison`.

    Raises:
        ValueError: If there are no models, or `callbacks` has a name that `builds` lacks.

    Example:
        >>> from kdl.data import digits
        >>> from kdl.training import Recipe
        >>> def dense(units):
        ...     def build(input_shape, classes):
        ...         layers = [keras.layers.Flatten(), keras.layers.Dense(units, "relu")]
        ...         layers.append(keras.layers.Dense(classes, "softmax"))
        ...         return keras.Sequential([keras.Input(input_shape), *layers])
        ...     return build
        >>> train, test = digits(size=8)
        >>> comparison = compare_models(
        ...     {"2 units": dense(2), "32 units": dense(32)}, train, test, Recipe(3), verbose=0
        ... )
        >>> [row["parameters"] for row in comparison.rows]
        [416, 6506]
    """
    callbacks = callbacks or {}
    if not builds:
        raise ValueError("Expected at least one model to compare; received none.")
    if unknown := sorted(set(callbacks) - set(builds)):
        raise ValueError(f"callbacks has names that builds lacks: {unknown}.")
    input_shape, classes = train[0].shape[1:], int(np.max(train[1])) + 1
    rows = []
    for name, build in builds.items():
        keras.utils.set_random_seed(seed)
        model = build if isinstance(build, keras.Model) else build(input_shape, classes)
        own = callbacks.get(name, ())
        row = train_and_measure(name, model, train, test, recipe, callbacks=own, verbose=verbose)
        rows.append(row)
    return Comparison(rows, title)
