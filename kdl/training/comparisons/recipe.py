"""A training recipe: what several models are trained alike by."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from kdl._checks import check_integer
from kdl.data.array_dataset import ArrayDataset
from kdl.training.schedules.warm_up_cosine import WarmUpCosine


@dataclasses.dataclass(frozen=True)
class Recipe:
    """AdamW under a warm-up and a cosine, for a number of epochs.

    Models that are to be compared get the same budget: as many epochs, the same batches in the same
    order, the same schedule `kdl.training.WarmUpCosine`.

    Args:
        epochs: Passes over the training data.
        batch_size: Defaults to 64.
        learning_rate: Peak of the schedule. Defaults to 0.01.
        weight_decay: AdamW's. Defaults to 0.02.
        warm_up_share: Share of the steps that warm up. Defaults to 0.1.
        augment: As in `kdl.data.ArrayDataset`. Defaults to None.
        loss: As in `compile`. Defaults to `"sparse_categorical_crossentropy"`.
        metrics: As in `compile`. Defaults to `("accuracy",)`.
        seed: Of the order of the samples. Defaults to 0.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> recipe = Recipe(epochs=8, learning_rate=0.002)
        >>> recipe.steps(1000)
        128
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 0.02
    warm_up_share: float = 0.1
    augment: Callable | Sequence | None = None
    loss: object = "sparse_categorical_crossentropy"
    metrics: Sequence = ("accuracy",)
    seed: int = 0

    def __post_init__(self):
        check_integer("epochs", self.epochs)
        check_integer("batch_size", self.batch_size)
        check_integer("seed", self.seed, least=0)
        if not 0 <= self.warm_up_share < 1:
            raise ValueError(f"warm_up_share must lie in [0, 1); received {self.warm_up_share!r}.")

    def steps(self, samples: int) -> int:
        """Steps of the whole training on so many samples."""
        return self.epochs * math.ceil(samples / self.batch_size)

    def optimizer(self, samples: int) -> keras.optimizers.Optimizer:
        """A new optimizer for a training on so many samples."""
        steps = self.steps(samples)
        schedule = WarmUpCosine(self.learning_rate, steps, int(steps * self.warm_up_share))
        return keras.optimizers.AdamW(schedule, weight_decay=self.weight_decay)

    def dataset(self, train: tuple) -> ArrayDataset:
        """The batches of `(x, y)` as `kdl.data.ArrayDataset`."""
        x, y = train
        return ArrayDataset(x, y, self.batch_size, seed=self.seed, augment=self.augment)

    def fit(
        self,
        model: keras.Model,
        train: tuple,
        test: Any = None,
        callbacks: Sequence = (),
        verbose: int | str = "auto",
    ) -> dict[str, list]:
        """Compiles and trains a model.

        Args:
            model: Any `keras.Model` that takes `loss`.
            train: Pair `(x, y)` of arrays.
            test: The same, measured after each epoch, or a data set; None (default) for none.
            callbacks: Callbacks for `fit`.
            verbose: As in `fit`.

        Returns:
            Dict of the logged values, a list of one for each epoch each.
        """
        model.compile(self.optimizer(len(train[0])), self.loss, metrics=list(self.metrics))
        history = model.fit(
            self.dataset(train),
            validation_data=test,
            epochs=self.epochs,
            shuffle=False,
            verbose=verbose,
            callbacks=list(callbacks),
        )
        return history.history
