"""The phases of a training run: all weights at once, or the head before them."""

import dataclasses
import math

import keras
import numpy as np

from kdl._checks import check_integer
from kdl.training.callbacks.best_epoch import BestEpoch
from kdl.training.callbacks.learning_watch import LearningWatch
from kdl.training.runs.fine_tuning import freeze_backbone, thaw
from kdl.training.schedules.warm_up_cosine import WarmUpCosine

_OPTIMIZERS = {
    "adamw": keras.optimizers.AdamW,
    "adam": keras.optimizers.Adam,
    "sgd": lambda rate, **decay: keras.optimizers.SGD(rate, 0.9, nesterov=True, **decay),
}
_FINE = 0.1  # of the learning rate, for a backbone that is thawed


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Settings of a run; `kdl.training.ClassifierRun.train` explains the attributes.

    Raises:
        ValueError: If one is out of range.
    """

    epochs: int
    learning_rate: float = 0.02
    warm_up_share: float = 0.1
    weight_decay: float = 0.02
    optimizer: str = "adamw"
    patience: int | None = None
    class_weight: dict | None = None
    freeze_epochs: int | None = None
    verbose: object = "auto"
    callbacks: tuple = ()

    def __post_init__(self):
        if self.optimizer not in _OPTIMIZERS:
            known = ", ".join(_OPTIMIZERS)
            raise ValueError(f"optimizer must be one of {known}; received {self.optimizer!r}.")
        check_integer("epochs", self.epochs)
        if self.patience is not None:
            check_integer("patience", self.patience)
        if self.freeze_epochs is not None:
            check_integer("freeze_epochs", self.freeze_epochs, least=0)
        for name, most in (("learning_rate", math.inf), ("warm_up_share", 1)):
            value = getattr(self, name)
            if not 0 <= value < most or (name == "learning_rate" and value == 0):
                limits = "positive" if most == math.inf else "at least 0 and below 1"
                raise ValueError(f"{name} must be {limits}; received {value!r}.")

    @property
    def fine_tunes(self):
        """True if the model comes with trained weights."""
        return self.freeze_epochs is not None

    @property
    def frozen_epochs(self):
        """Epochs of the head alone."""
        return min(self.freeze_epochs or 0, self.epochs)

    def rate_after(self, begun):
        """The rate at which all weights train after `begun` epochs, which an earlier run had."""
        peak = self.learning_rate * (_FINE if self.fine_tunes else 1)
        if not begun:
            return peak
        schedule = WarmUpCosine(peak, 1000, int(1000 * self.warm_up_share))
        return float(schedule(int(1000 * begun / self.epochs)))

    def compile(self, model, rate, steps):
        """Compiles a classifier for so many steps."""
        schedule = WarmUpCosine(rate, max(steps, 1), int(self.warm_up_share * steps))
        model.compile(
            _OPTIMIZERS[self.optimizer](schedule, weight_decay=self.weight_decay),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )


class Phases:
    """Trains a model in phases, each with a schedule and a `Backup` of its own.

    Args:
        model: Classifier.
        train: Data set.
        validation: Data set.
        settings: `RunSettings`.
        best_folder: Folder for the weights of the best epoch.
    """

    def __init__(self, model, train, validation, settings, best_folder):
        self.model, self.settings = model, settings
        self._train, self._validation = train, validation
        self._best_folder = best_folder

    def run(self, backup, of_head, begun=0):
        """Trains what is left of the run.

        Args:
            backup: `Backup` of the phase of all weights, whose rows are the run's history.
            of_head: That of the phase of the head.
            begun: Epochs that an earlier run had.

        Returns:
            `(BestEpoch, steps of the whole run)`.
        """
        settings = self.settings
        frozen = 0 if begun else settings.frozen_epochs
        if frozen and not backup.finished_epochs:
            freeze_backbone(self.model)
            self._fit(of_head, range(frozen), settings.learning_rate)
            backup.rows = list(of_head.rows)
        if settings.fine_tunes:
            thaw(self.model, norms=False)
        first = max(begun, frozen)
        epochs = range(first, settings.epochs)
        best = self._fit(backup, epochs, settings.rate_after(begun), settings.patience)
        steps = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if settings.fine_tunes:
            thaw(self.model, norms=True)
        return best, first * len(self._train) + steps

    def _fit(self, backup, epochs, rate, patience=None):
        """Trains these epochs under one schedule; gives the `BestEpoch`."""
        self.settings.compile(self.model, rate, len(epochs) * len(self._train))
        best = BestEpoch(backup, self._best_folder, patience, epochs.start)
        # A run that was killed after patience had ended has nothing left to train.
        last = backup.finished_epochs if best.is_over(backup.kept_rows()) else epochs.stop
        self.model.fit(
            self._train,
            validation_data=self._validation,
            initial_epoch=epochs.start,
            epochs=last,
            class_weight=self.settings.class_weight,
            shuffle=False,
            verbose=self.settings.verbose,
            callbacks=[
                backup,
                _follow_epochs(self._train),
                best,
                LearningWatch(self._validation.labels),
                *self.settings.callbacks,
            ],
        )
        return best


def check_task(model, train, validation, class_names):
    """Raises ValueError, before anything is trained, if a model does not fit its data and classes.

    Args:
        model: Classifier.
        train: Data set of `kdl.data`.
        validation: The same.
        class_names: Names of the classes.
    """
    shape = getattr(model, "output_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[1] != len(class_names):
        raise ValueError(
            f"Expected a classifier with an output (batch, {len(class_names)}) for the classes "
            f"{list(class_names)}; {model.name} has the output shape {shape}."
        )
    for name, data in (("train", train), ("validation", validation)):
        labels = getattr(data, "labels", None)
        if labels is None and data is train:
            continue
        if labels is None:
            raise ValueError(
                f"{name} must be a data set of kdl.data that has `labels`, as ArrayDataset and "
                f"ImageFolder do; received {type(data).__name__}."
            )
        if np.min(labels) < 0 or np.max(labels) >= len(class_names):
            raise ValueError(
                f"{name} has labels {np.min(labels)} to {np.max(labels)}; expected 0 to "
                f"{len(class_names) - 1}, for {len(class_names)} class names."
            )


def _follow_epochs(dataset):
    def follow(epoch, logs=None):
        dataset.epoch = epoch

    return keras.callbacks.LambdaCallback(on_epoch_begin=follow)
