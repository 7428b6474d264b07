import os
import shutil

import keras
import numpy as np
import pytest

from kdl.data import ArrayDataset
from kdl.training import Backup
from kdl.training.backup import read_history


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    """Ends the process, as far as `fit` can tell, in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.at = epoch
        self.now = None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.at and batch == 1:
            raise Killed


def run(folder, kill_at=None, epochs=4, more=None):
    """Four epochs of four steps; momentum makes the optimizer's state matter."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 3)), rng.standard_normal((16, 1))
    dataset = ArrayDataset(x.astype("float32"), y.astype("float32"), batch_size=4)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    backup = Backup(folder / "backup")
    follow = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(dataset, "epoch", epoch)
    )
    callbacks = [backup, follow] + ([] if kill_at is None else [KillAt(kill_at)])
    callbacks += [] if more is None else [more]
    model.fit(dataset, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0)
    return model, backup


def weights_and_steps(model):
    steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    return [keras.ops.convert_to_numpy(w) for w in model.weights], steps


@pytest.mark.parametrize("kill_at", [0, 1, 3])
def test_a_killed_run_ends_like_one_that_was_not(kill_at, tmp_path):
    (tmp_path / "whole").mkdir()
    expected, steps = weights_and_steps(run(tmp_path / "whole")[0])
    with pytest.raises(Killed):
        run(tmp_path, kill_at)
    assert len(read_history(tmp_path / "history.csv")) == kill_at
    model, _ = run(tmp_path)
    found, resumed_steps = weights_and_steps(model)
    assert resumed_steps == steps == 16
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    rows = read_history(tmp_path / "history.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    whole = read_history(tmp_path / "whole" / "history.csv")
    np.testing.assert_allclose([r["loss"] for r in rows], [r["loss"] for r in whole], atol=1e-5)


def test_a_half_written_backup_is_ignored(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, kill_at=2)
    current = tmp_path / "backup" / "current"
    shutil.copytree(tmp_path / "backup" / "epoch-2", current, dirs_exist_ok=True)
    (current / "latest.weights.h5").write_bytes(b"torn")
    model, backup = run(tmp_path)
    assert weights_and_steps(model)[1] == 16
    assert backup.finished_epochs == 4


def test_only_the_newest_epoch_is_kept_until_cleared(tmp_path):
    _, backup = run(tmp_path)
    assert os.listdir(tmp_path / "backup") == ["epoch-4"]
    model, _ = run(tmp_path)  # nothing is left to do
    assert weights_and_steps(model)[1] == 16
    backup.clear()
    assert not (tmp_path / "backup").exists()
    assert backup.finished_epochs == 0


def test_a_full_disk_ends_the_run_and_keeps_what_was_kept(tmp_path, monkeypatch):
    class FillDisk(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                usage = shutil.disk_usage(tmp_path)._replace(free=1000)
                monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(OSError, match=r"the disk has 0\.0 MiB left"):
        run(tmp_path, more=FillDisk())
    monkeypatch.undo()
    model, backup = run(tmp_path)
    assert weights_and_steps(model)[1] == 16
    assert backup.finished_epochs == 4
