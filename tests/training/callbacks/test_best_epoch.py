import contextlib
import math
import os

import keras
import numpy as np
import pytest

from kdl.training.callbacks.backup import Backup
from kdl.training.callbacks.best_epoch import BestEpoch, best_row


@pytest.mark.parametrize("order", [1, -1])
def test_best_row_with_nan_ranks_it_last(order):
    rows = [
        {"epoch": 1, "val_accuracy": 0.1, "val_loss": math.nan},
        {"epoch": 2, "val_accuracy": math.nan, "val_loss": 0.1},
        {"epoch": 3, "val_accuracy": 0.1, "val_loss": 2.0},
    ]
    assert best_row(rows[::order])["epoch"] == 3


class Plan(keras.callbacks.Callback):
    """Gives epochs their accuracies, a bias of their number, and faults."""

    def __init__(self, accuracies, spoil=None, kill=None):
        super().__init__()
        self.accuracies, self.spoil, self.kill = accuracies, spoil, kill

    def on_epoch_begin(self, epoch, logs=None):
        if epoch + 1 == self.kill:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        self.model.layers[-1].bias.assign([epoch + 1.0])
        logs.update(val_accuracy=self.accuracies[epoch], val_loss=1.0)
        if epoch + 1 == self.spoil:
            moments = self.model.optimizer.variables[-1]
            moments.assign(np.full(moments.shape, np.nan))


def trained(folder, plan):
    """The model and the `BestEpoch` of four epochs, or of those before a kill."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    best = BestEpoch(Backup(folder / "backup"), folder / "best")
    callbacks = [plan, best.backup, best]
    with contextlib.suppress(KeyboardInterrupt):
        model.fit(np.ones((4, 1)), np.ones(4), epochs=4, verbose=0, callbacks=callbacks)
    return model, best


@pytest.mark.long_to_compile
@pytest.mark.every_backend
@pytest.mark.filterwarnings("ignore:Epoch 3 is not kept")
@pytest.mark.parametrize(
    ("again", "expected"), [([0.9, 0.5, 0.6, 0.7], 1), ([0.9, 0.5, 0.95, 0.7], 3)]
)
def test_an_epoch_without_a_backup_does_not_cost_the_best_one(again, expected, tmp_path):
    trained(tmp_path, Plan([0.9, 0.5, 0.95, 0.6], spoil=3, kill=4))
    [stale] = (tmp_path / "best").glob("epoch-3*")
    stale.write_bytes(b"of an epoch that comes again")
    model, best = trained(tmp_path, Plan(again))
    assert best.restore(model)["epoch"] == expected
    assert keras.ops.convert_to_numpy(model.layers[-1].bias)[0] == expected


def test_weights_that_are_gone_are_told(tmp_path):
    model, best = trained(tmp_path, Plan([0.9, 0.5, 0.6, 0.7]))
    [path] = (tmp_path / "best").iterdir()
    os.remove(path)
    with pytest.warns(UserWarning, match="of epoch 1, the best, are no longer .* epoch 4 are"):
        assert best.restore(model)["epoch"] == 4
