"""Backup and restore of a training, safe against a kill at any moment."""

import csv
import json
import os
import shutil
import warnings

import keras
from keras import ops

from kdl._compat import forget_restored_epoch
from kdl._files import check_space, draft_of, write_whole
from kdl._typing import Path
from kdl.ops.replicas import replica_number
from kdl.training.callbacks._generators import generator_states, restore_generators


class Backup(keras.callbacks.BackupAndRestore):
    """`keras.callbacks.BackupAndRestore` in which an epoch is either kept whole or not at all.

    Keras's callback writes weights and epoch number one after the other into the same files; a
    kill between the two repeats an epoch, a kill within one leaves a broken backup. Here the
    finished backup is renamed into place, together with `history.csv`. A run that is started again
    with the same folder goes on after the last finished epoch, with the same weights, optimizer
    state, step count and states of the model's random numbers (dropout goes on as it would have),
    and a history without gaps or repetitions.

    An epoch that was stopped before its last step (`stop_training`, as `TerminateOnNaN` or a time
    limit sets it) is not finished: it comes again. Nor is an epoch kept after which weights are
    not finite, which would stay so for ever; a warning says so, and the epoch before it stays.

    Of several processes that train one model (`kdl.training.distribute` on PyTorch) all restore
    the backup, and the first one alone writes.

    The backup stays until `clear` is called, so that nothing is lost between the last epoch and the
    saving of the model.

    Args:
        folder: Folder of the backups; it is made if it does not exist.
        history_path: File to which the history is written after each epoch: a column per logged
            value, a row per epoch, empty where an epoch did not log the value. Defaults to
            `history.csv` beside the folder.

    Attributes:
        rows: A dict of each epoch: `epoch`, from 1, and the numbers that it logged.

    Raises:
        OSError: While training, if the disk is full; what was kept before stays.

    Example:
        >>> import keras, numpy as np, tempfile
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> backup = Backup(tempfile.mkdtemp() + "/backup")
        >>> history = model.fit(np.ones((4, 1)), np.ones(4), epochs=2, verbose=0,
        ...                     callbacks=[backup])
        >>> backup.finished_epochs
        2
    """

    def __init__(self, folder: Path, history_path: Path | None = None) -> None:
        self.folder = os.path.abspath(folder)
        self.number = replica_number()
        current = f"current-{self.number}" if self.number else "current"
        super().__init__(os.path.join(self.folder, current), delete_checkpoint=False)
        default = os.path.join(os.path.dirname(self.folder), "history.csv")
        self.history_path = history_path or default
        self.rows = []
        self._steps = _Steps()
        self._warned = False

    @property
    def finished_epochs(self) -> int:
        """Number of epochs in the newest backup."""
        return max(self._kept(), default=0)

    def kept_rows(self) -> list[dict]:
        """The rows of the newest backup, an empty list without one."""
        if not self.finished_epochs:
            return []
        return read_history(os.path.join(self._place(self.finished_epochs), "history.csv"))

    def clear(self) -> None:
        """Removes the backups."""
        shutil.rmtree(self.backup_dir if self.number else self.folder, ignore_errors=True)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Restores the newest backup, if there is one."""
        shutil.rmtree(self.backup_dir, ignore_errors=True)
        os.makedirs(self.folder, exist_ok=True)
        if self.finished_epochs:
            newest = self._place(self.finished_epochs)
            shutil.copytree(newest, self.backup_dir)
            self.rows = self.kept_rows()
        if not self.number:
            write_history(self.history_path, self.rows)
        super().on_train_begin(logs)
        _restore_seeds(self.model, self._seeds_path)
        if os.path.exists(self._generators_path):
            with open(self._generators_path) as file:
                restore_generators(json.load(file))
        self._steps = _Steps()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Lets the next `fit` begin by its own arguments."""
        super().on_train_end(logs)
        forget_restored_epoch(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Begins to count the steps."""
        self._steps.begin()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts the steps."""
        super().on_train_batch_end(batch, logs)
        self._steps.seen = batch + 1

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Notes whether the epoch came to its last step, if that is validation after an epoch."""
        self._steps.stopped = self.model.stop_training

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Keeps the epoch."""
        if self._steps.were_cut(self.model.stop_training, self.params.get("steps")):
            return
        self.rows.append(_row(epoch + 1, logs or {}))
        if self.number:
            return
        if self._is_sound(epoch):
            self._keep(epoch, logs)
        write_history(self.history_path, self.rows)

    def _is_sound(self, epoch):
        spoiled = _not_finite(self.model)
        if spoiled and not self._warned:
            warnings.warn(
                f"Epoch {epoch + 1} is not kept: {spoiled} holds values that are not finite. The "
                f"backup stays at epoch {self.finished_epochs}. A lower learning rate or clipped "
                f"gradients may help.",
                stacklevel=2,
            )
        self._warned = bool(spoiled)
        return not spoiled

    def _keep(self, epoch, logs):
        check_space(self.backup_dir, [*self.model.variables, *self.model.optimizer.variables])
        super().on_epoch_end(epoch, logs)
        write_history(os.path.join(self.backup_dir, "history.csv"), self.rows)
        seeds = [ops.convert_to_numpy(variable).tolist() for variable in _seeds(self.model)]
        write_whole(self._seeds_path, json.dumps(seeds))
        if generators := generator_states():
            write_whole(self._generators_path, json.dumps(generators))
        older = self._kept()
        os.rename(self.backup_dir, self._place(epoch + 1))
        for number in older:
            shutil.rmtree(self._place(number), ignore_errors=True)

    @property
    def _seeds_path(self):
        return os.path.join(self.backup_dir, "seeds.json")

    @property
    def _generators_path(self):
        return os.path.join(self.backup_dir, "generators.json")

    def _place(self, epoch):
        return os.path.join(self.folder, f"epoch-{epoch}")

    def _kept(self):
        if not os.path.isdir(self.folder):
            return []
        names = [name for name in os.listdir(self.folder) if name.startswith("epoch-")]
        return [int(name.removeprefix("epoch-")) for name in names]


class _Steps:
    """The steps of the present epoch, and whether it came to the last one."""

    def __init__(self):
        self.length = None  # of an epoch, once one has ended by itself
        self.begin()

    def begin(self):
        """An epoch begins."""
        self.seen, self.stopped = 0, None

    def were_cut(self, stops, steps):
        """True if training was stopped before the last step of the epoch that ends.

        Args:
            stops: Whether training stops now: a callback may have said so at the epoch's end.
            steps: Steps of an epoch, or None where Keras does not know them.
        """
        steps = steps or self.length
        if not stops or (steps and self.seen >= steps):
            self.length = self.seen
            return False
        # Where nobody knows the steps, an epoch without validation counts as cut: to repeat it is
        # better than to leave out steps.
        return True if steps else self.stopped is not False


def _seeds(model):
    """The states of the model's random numbers: the variables that nothing else claims."""
    claimed = {id(v) for v in [*model.weights, *model.metrics_variables]}
    return [v for v in model.variables if id(v) not in claimed]


def _restore_seeds(model, path):
    """Restore the states of random numbers from a file, if it is there and fits."""
    if not os.path.exists(path):
        return
    with open(path) as file:
        states = json.load(file)
    seeds = _seeds(model)
    if [len(state) for state in states] != [seed.shape[0] for seed in seeds]:
        return
    for seed, state in zip(seeds, states, strict=True):
        seed.assign(state)


def _not_finite(model):
    """Path of a variable that training can't recover from, or None.

    Weights that are not trained, such as a mask of −∞, may be infinite, but not NaN.
    """
    fixed = {id(v) for v in model.non_trainable_variables}
    for variable in [*model.weights, *model.optimizer.variables]:
        if not keras.backend.is_float_dtype(variable.dtype):
            continue
        good = ops.isfinite(variable)
        if id(variable) in fixed:
            good = ops.logical_not(ops.isnan(variable))
        if not ops.all(good):
            return variable.path
    return None


def _row(epoch, logs):
    """The numbers among the logs, to seven digits (float32 has no more), and the epoch."""
    row = {"epoch": epoch}
    for name, value in logs.items():
        try:
            row.setdefault(name, float(f"{float(value):.7g}"))
        except (TypeError, ValueError):  # a callback may log what is no number
            continue
    return row


def write_history(path, rows):
    """Writes rows of logged values as CSV, replacing the file in one step.

    A value that a row does not have is left empty.
    """
    names = dict.fromkeys(["epoch", *(name for row in rows for name in row)])
    with draft_of(path) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(names))
        writer.writeheader()
        writer.writerows(rows)


def read_history(path):
    """Rows of a history written by `write_history`, as dicts of the numbers that each has."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {
                key: int(value) if key == "epoch" else float(value)
                for key, value in row.items()
                if value
            }
            for row in csv.DictReader(file)
        ]
