"""Training of an image classifier in a folder, resumable after a kill."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from kdl._plots import make_figure
from kdl._typing import Path
from kdl._words import counted
from kdl.data.model_info import ModelInfo
from kdl.graph import copy_model, copy_weights
from kdl.ops.replicas import replica_number, wait_for_replicas
from kdl.training.callbacks.backup import Backup, read_history
from kdl.training.callbacks.best_epoch import best_row
from kdl.training.plots import plot_confusion_matrix, plot_history
from kdl.training.portable import save_portable
from kdl.training.runs.run_folder import RunFolder, digest_of_files, plain_arguments
from kdl.training.runs.run_phases import Phases, RunSettings, check_task


class ClassifierRun:
    """A training run and its folder.

    `model.keras` is the model of the best epoch by validation accuracy, `last.keras` that of the
    last one; beside them lie `history.csv`, two plots and `run.json`.

    Started again with the same arguments, an interrupted run goes on after its last finished epoch
    and ends with the same number of epochs and steps; a finished run is left as it is. With more
    `epochs`, a finished run goes on from its last model, with a new optimizer, at the rate that the
    longer schedule has there.

    Taken up with other classes, a run is an error; with files of other names (of data sets that
    have `paths`, as `kdl.data.ImageFolder`), it warns.

    Args:
        folder: Folder of the run; it is made if it does not exist.
        arguments: Dict of plain values that define the run (model, data, epochs, …). They must be
            the same when the run is taken up again; `epochs` may have grown.
        overwrite: Whether to throw away what an earlier run left. Defaults to False.

    Raises:
        ValueError: If the folder holds a run with other arguments.
        OSError: If the folder cannot be written.
        RuntimeError: If a run is being trained in the folder, and `overwrite` or more `epochs`
            would change it.

    Example:
        >>> import tempfile
        >>> run = ClassifierRun(tempfile.mkdtemp(), {"model": "shufflenet_v2_x0_5", "epochs": 2})
        >>> run.finished
        False
    """

    def __init__(self, folder: Path, arguments: dict[str, Any], overwrite: bool = False) -> None:
        self.arguments = plain_arguments(arguments)
        self._folder = RunFolder(folder)
        self.folder = self._folder.path
        if replica_number() == 0:
            self._folder.begin(self.arguments, overwrite)
        wait_for_replicas()
        self._folder.check_arguments(self.arguments)
        self.backup = Backup(self.path("backup"))
        self._of_head = Backup(self.path("backup-head"))

    @property
    def finished(self) -> bool:
        """True if the run has come to its end."""
        return self._folder.read()["finished"]

    @property
    def results(self) -> dict[str, Any] | None:
        """Results of the finished run: `epochs`, `steps`, and the quality of `model.keras`.

        That is `best_epoch`, and its `accuracy` and `loss` in validation. None before.
        """
        return self._folder.read().get("results")

    @property
    def finished_epochs(self) -> int:
        """Number of epochs after which the run goes on, or has come to its end."""
        ended = (self.results or {}).get("epochs", 0)
        backups = (self.backup.finished_epochs, self._of_head.finished_epochs)
        return max(ended, self._begun_at, *backups)

    def path(self, name: str) -> str:
        """Path of a file in the run's folder."""
        return self._folder.file(name)

    def train(
        self,
        model: keras.Model,
        train: Any,
        validation: Any,
        class_names: Sequence[str],
        epochs: int,
        learning_rate: float = 0.02,
        warm_up_share: float = 0.1,
        weight_decay: float = 0.02,
        info: ModelInfo | None = None,
        verbose: int | str = "auto",
        *,
        optimizer: Literal["adamw", "adam", "sgd"] = "adamw",
        patience: int | None = None,
        class_weight: dict[int, float] | None = None,
        freeze_epochs: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> dict[str, Any] | None:
        """Trains under `WarmUpCosine`, then saves the models and the plots.

        Of a finished run nothing is trained again: the model gets the weights of `model.keras`.

        Args:
            model: Classifier with softmax output.
            train: Data set of `kdl.data` that yields images and integer labels.
            validation: The same, measured after each epoch; the accuracy reported is its.
            class_names: Names in the order of the labels.
            epochs: Passes over `train`, the finished ones of an interrupted run included.
            learning_rate: Peak of the schedule. Defaults to 0.02.
            warm_up_share: Share of the steps that warm up. Defaults to 0.1.
            weight_decay: The optimizer's. Defaults to 0.02.
            info: `kdl.data.ModelInfo` to keep in the saved model.
            verbose: As in `fit`.
            optimizer: `"adamw"` (default), `"adam"`, or `"sgd"` with Nesterov's momentum of 0.9.
            patience: Epochs without a better one after which training stops; None (default) for
                all epochs.
            class_weight: As in `fit`.
            freeze_epochs: None (default) trains all weights. A number is for a model with trained
                weights: for as many epochs only the head is trained, then all weights at a tenth
                of the rate; batch norms go on using their averages. A run that is taken up keeps
                the number with which it began.
            callbacks: More callbacks for `fit`.

        Returns:
            Dict of results. None in all processes but the first, where several train one model.

        Raises:
            ValueError: If a number is out of range, `optimizer` is unknown, the model, the data
                and the class names do not fit each other, or the run began with other class names;
                nothing is trained then.
            RuntimeError: If a run is being trained in the folder already.
        """
        settings = RunSettings(
            epochs,
            learning_rate,
            warm_up_share,
            weight_decay,
            optimizer,
            patience,
            class_weight,
            freeze_epochs,
            verbose,
            tuple(callbacks),
        )
        check_task(model, train, validation, class_names)
        make_figure((1, 1))  # before hours of training: the plots can be drawn
        alone = contextlib.nullcontext() if replica_number() else self._folder.in_use()
        with alone:
            settings = self._as_begun(settings, train, validation, class_names)
            if self.finished:
                self._read_weights(model, "model.keras")
                return None if replica_number() else self.results
            begun = self._take_up(model)
            phases = Phases(model, train, validation, settings, self.path("best"))
            best, steps = phases.run(self.backup, self._of_head, begun)
            if replica_number():
                self._clear(best)
                return None
            return self._finish(model, best, validation, class_names, steps, info)

    @property
    def _begun_at(self):
        return self._folder.read().get("begun_at", 0)

    def _as_begun(self, settings, train, validation, class_names):
        """The settings, with what the run has kept of its beginning; checks the data against it."""
        facts = {
            "class_names": list(map(str, class_names)),
            "files": digest_of_files(train, validation),
            "frozen_epochs": settings.frozen_epochs,
        }
        anew = not self.finished and not self.finished_epochs
        kept = self._folder.keep(facts, write=not replica_number(), anew=anew)
        if not settings.fine_tunes:
            return settings
        return dataclasses.replace(settings, freeze_epochs=kept["frozen_epochs"])

    def _take_up(self, model):
        """Reads weights and history of a finished run that goes on; gives its number of epochs."""
        begun = self._begun_at
        if begun:
            rows = self._read_weights(model, "last.keras", "model.keras")
            self.backup.rows = [row for row in rows if row["epoch"] <= begun]
        return begun

    def _read_weights(self, model, name, *others):
        """Gives a model the weights of a file of a finished run; gives the rows of its history."""
        try:
            rows = read_history(self.path("history.csv"))
            _load_weights(model, self.path(name))
            for other in others:
                os.stat(self.path(other))
        # What is damaged, or of another run, fails in any way.
        except Exception as error:
            count = counted((self.results or {}).get("epochs", self._begun_at), "epoch")
            files = ("history.csv", name) + others
            raise ValueError(
                f"{self.folder} holds a run of {count} that cannot go on: its "
                f"{', '.join(files[:-1])} or {files[-1]} is missing, damaged or of another "
                f"({error}). Put it back, choose another folder, or overwrite it."
            ) from error
        return rows

    def _finish(self, model, best, validation, class_names, steps, info):
        rows = self.backup.rows
        plot_history(rows, self.path("curves.png"))
        save_portable(model, self.path("last.keras"), info)
        chosen = best_row(rows)
        if chosen["epoch"] > self._begun_at:
            chosen = best.restore(model)
            save_portable(model, self.path("model.keras"), info)
        else:
            _load_weights(model, self.path("model.keras"))
        results = {
            "epochs": rows[-1]["epoch"],
            "steps": steps,
            "best_epoch": chosen["epoch"],
            "accuracy": chosen["val_accuracy"],
            "loss": chosen["val_loss"],
        }
        self._plot_confusion(model, validation, class_names)
        self._folder.finish(results)
        self._clear(best)
        return results

    def _clear(self, best):
        self.backup.clear()
        self._of_head.clear()
        if not replica_number():
            best.clear()

    def _plot_confusion(self, model, validation, class_names):
        labels = np.concatenate([np.asarray(y) for _, y in validation])
        predicted = model.predict(validation, verbose=0).argmax(-1)
        plot_confusion_matrix(labels, predicted, class_names, self.path("confusion.png"))


def _load_weights(model, path):
    """Gives a model the weights of its own file, also of classes that Keras reads from no file.

    Keras would look in the file for the state of an optimizer, if the model has one.
    """
    copy = copy_model(model, weights=False)
    copy.load_weights(path)
    copy_weights(copy, model)
