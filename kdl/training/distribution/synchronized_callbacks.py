"""Callbacks of `fit` in several processes: common logs, common state, one writer."""

import keras
import numpy as np

from kdl.ops.replicas import replica_number, torch_reduced
from kdl.training.callbacks.backup import Backup

_WRITERS = (keras.callbacks.ModelCheckpoint, keras.callbacks.CSVLogger, keras.callbacks.TensorBoard)


def synchronized_callbacks(given, progress):
    """The callbacks of this process: the first one has all, the others those that do not write.

    Args:
        given: Callbacks, as of `fit`.
        progress: `BatchShare` of the training.

    Raises:
        ValueError: If several processes would write one backup.
    """
    given = [] if given is None else keras.tree.flatten(given)
    for callback in given:
        if not isinstance(callback, keras.callbacks.BackupAndRestore):
            continue
        if not isinstance(callback, Backup) or callback.number != replica_number():
            raise ValueError(
                "Several processes would write the same backup. Use kdl.training.Backup, and make "
                "it inside of kdl.training.distribute."
            )
    if replica_number():
        given = [callback for callback in given if not isinstance(callback, _WRITERS)]
    return [_AverageLogs(progress), *given, _CommonState()]


class _AverageLogs(keras.callbacks.Callback):
    """Averages the logs of all processes, before any other callback sees them."""

    def __init__(self, progress):
        super().__init__()
        self.progress = progress

    def on_epoch_begin(self, epoch, logs=None):
        self.progress.samples = 0

    def on_epoch_end(self, epoch, logs=None):
        import torch

        # Each process validates on all samples, and trains on its own.
        weights = [1 if name.startswith("val_") else self.progress.samples for name in logs]
        values = [np.float64(keras.ops.convert_to_numpy(value)) for value in logs.values()]
        weighted = [np.ravel(v * weight) for v, weight in zip(values, weights, strict=True)]
        sums = torch_reduced(torch.from_numpy(np.concatenate([weights, *weighted])))
        total, *parts = np.split(sums.numpy(), np.cumsum([len(logs), *map(np.size, values)])[:-1])
        for name, value, part, weight in zip(logs, values, parts, total, strict=True):
            mean = part / weight
            logs[name] = mean.reshape(value.shape) if value.shape else float(mean[0])


class _CommonState(keras.callbacks.Callback):
    """Gives all processes the variables of the first one, after other callbacks set them.

    If a callback of one process stops the training, all stop.
    """

    def on_train_batch_end(self, batch, logs=None):
        self._stop_together()

    def _stop_together(self):
        import torch

        stops = torch_reduced(torch.tensor(int(self.model.stop_training)))
        self.model.stop_training = bool(stops)

    def on_train_begin(self, logs=None):
        _broadcast([*self.model.variables, *self.model.optimizer.variables])

    def on_test_begin(self, logs=None):
        _broadcast(self.model.non_trainable_variables)

    def on_epoch_end(self, epoch, logs=None):
        self._stop_together()
        _broadcast(self.model.non_trainable_variables)


def _broadcast(variables):
    from torch import distributed

    for variable in variables:
        distributed.broadcast(variable.value.data, 0)
