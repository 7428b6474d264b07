"""Early stopping, and a checkpoint of the best epoch."""

import math
import os
import shutil

import keras

from kdl._files import check_space, draft_of
from kdl._warn import warn
from kdl.ops.replicas import replica_number


def best_row(rows):
    """The row of the best epoch: the most accurate in validation, of equals that of least loss.

    NaN is the worst of both.

    Args:
        rows: Dicts with `val_accuracy` and `val_loss`, such as `Backup.rows`.

    Example:
        >>> rows = [{"epoch": 1, "val_accuracy": 0.5, "val_loss": 1.0},
        ...         {"epoch": 2, "val_accuracy": 0.5, "val_loss": 0.9}]
        >>> best_row(rows)["epoch"]
        2
    """
    return max(rows, key=lambda row: (_rank(row["val_accuracy"]), _rank(-row["val_loss"])))


def _rank(value):
    """The value; what is not a number, and compares with nothing, is the worst."""
    return -math.inf if math.isnan(value) else value


class BestEpoch(keras.callbacks.Callback):
    """Keeps the weights of the best epoch, and stops when none is better for long.

    It stands behind the `kdl.training.Backup` whose rows it reads, so that what it knows comes back
    with a run that is taken up again.

    Args:
        backup: The `Backup`.
        folder: Folder for the weights; it is made if it does not exist.
        patience: Epochs without a better one after which training stops, or None for no end.
        first: Number of epochs that were finished before, which patience does not count.
    """

    def __init__(self, backup, folder, patience=None, first=0):
        super().__init__()
        self.backup, self.folder = backup, folder
        self.patience, self.first = patience, first

    def is_over(self, rows):
        """True if patience ended with these rows."""
        if self.patience is None or not rows:
            return False
        return rows[-1]["epoch"] - max(best_row(rows)["epoch"], self.first) >= self.patience

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Keeps the epoch that was just taken up, if a kill came before it was kept here."""
        self._keep_if_best()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Keeps the epoch if it is the best; one that was cut is none."""
        rows = self.backup.rows
        if rows and rows[-1]["epoch"] == epoch + 1:
            self._keep_if_best()
        if self.is_over(rows):
            self.model.stop_training = True

    def restore(self, model):
        """Sets the weights of the best epoch; gives its row.

        If they are gone, as where an earlier version began the run, it is the best epoch whose
        weights there are, and a warning says so.

        Args:
            model: The model, with the weights of the last epoch.
        """
        rows = self.backup.rows
        best, paths = best_row(rows), {row["epoch"]: self._path(row["epoch"]) for row in rows}
        there = [row for row in rows[:-1] if os.path.exists(paths[row["epoch"]])]
        chosen = best_row([*there, rows[-1]])
        if chosen is not best:
            warn(
                f"The weights of epoch {best['epoch']}, the best, are no longer in {self.folder}: "
                f"those of epoch {chosen['epoch']} are taken."
            )
        if os.path.exists(paths[chosen["epoch"]]):
            model.load_weights(paths[chosen["epoch"]])
        return chosen

    def clear(self):
        """Removes the weights."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keep_if_best(self):
        rows = self.backup.rows
        if replica_number() or not rows or best_row(rows) is not rows[-1]:
            return
        path = self._path(rows[-1]["epoch"])
        os.makedirs(self.folder, exist_ok=True)
        check_space(path, self.model.variables)
        with draft_of(path, ".weights.h5") as draft:
            self.model.save_weights(draft, overwrite=True)
        if self.backup.finished_epochs < rows[-1]["epoch"]:
            return  # a run that is taken up again goes on before it, and needs the best of then
        for name in os.listdir(self.folder):  # those before, and drafts that a kill left
            if name != os.path.basename(path):
                os.remove(os.path.join(self.folder, name))

    def _path(self, epoch):
        return os.path.join(self.folder, f"epoch-{epoch}.weights.h5")
