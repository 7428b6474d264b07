"""Backups that a kill at any moment can't spoil."""

import csv
import os
import shutil

import keras

from kdl.ops.replicas import replica_number
from kdl.training.disk import check_space


class Backup(keras.callbacks.BackupAndRestore):
    """`keras.callbacks.BackupAndRestore` in which an epoch is either kept whole or not at all.

    Keras's callback writes weights and epoch number one after the other into the same files; a
    kill between the two repeats an epoch, a kill within one leaves a broken backup. Here the
    finished backup is renamed into place, together with `history.csv`. A run that is started again
    with the same folder goes on after the last finished epoch, with the same weights, optimizer
    state and step count, and a history without gaps or repetitions.

    Of several processes that train one model (`kdl.training.distribute` on PyTorch) all take the
    backup up, and the first one alone writes.

    The backup stays until `clear` is called, so that nothing is lost between the last epoch and the
    saving of the model.

    Args:
        folder: Folder of the backups; it is made if it does not exist.
        history_path: File to which the history is written after each epoch: a column per logged
            value, a row per epoch. Defaults to `history.csv` beside the folder.

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

    def __init__(self, folder, history_path=None):
        self.folder = os.path.abspath(folder)
        self.number = replica_number()
        current = f"current-{self.number}" if self.number else "current"
        super().__init__(os.path.join(self.folder, current), delete_checkpoint=False)
        default = os.path.join(os.path.dirname(self.folder), "history.csv")
        self.history_path = history_path or default
        self.rows = []

    @property
    def finished_epochs(self):
        """Number of epochs in the newest backup."""
        return max(self._kept(), default=0)

    def clear(self):
        """Removes the backups."""
        shutil.rmtree(self.backup_dir if self.number else self.folder, ignore_errors=True)

    def on_train_begin(self, logs=None):
        """Restores the newest backup, if there is one."""
        shutil.rmtree(self.backup_dir, ignore_errors=True)
        os.makedirs(self.folder, exist_ok=True)
        if self.finished_epochs:
            kept = self._place(self.finished_epochs)
            shutil.copytree(kept, self.backup_dir)
            self.rows = read_history(os.path.join(kept, "history.csv"))
        if not self.number:
            write_history(self.history_path, self.rows)
        super().on_train_begin(logs)

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the epoch."""
        self.rows.append({"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}})
        if self.number:
            return
        check_space(self.backup_dir, [*self.model.variables, *self.model.optimizer.variables])
        super().on_epoch_end(epoch, logs)
        write_history(os.path.join(self.backup_dir, "history.csv"), self.rows)
        older = self._kept()
        os.rename(self.backup_dir, self._place(epoch + 1))
        for number in older:
            shutil.rmtree(self._place(number), ignore_errors=True)
        write_history(self.history_path, self.rows)

    def _place(self, epoch):
        return os.path.join(self.folder, f"epoch-{epoch}")

    def _kept(self):
        if not os.path.isdir(self.folder):
            return []
        names = [name for name in os.listdir(self.folder) if name.startswith("epoch-")]
        return [int(name.removeprefix("epoch-")) for name in names]


def write_history(path, rows):
    """Writes rows of logged values as CSV, replacing the file in one step."""
    draft = f"{path}.part"
    with open(draft, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["epoch"])
        writer.writeheader()
        writer.writerows(rows)
    os.replace(draft, path)


def read_history(path):
    """Rows of a history written by `write_history`, as dicts of numbers."""
    with open(path, newline="") as file:
        return [
            {key: int(value) if key == "epoch" else float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]
