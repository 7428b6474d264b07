import os
import shutil

import keras
import numpy as np
import pytest

from kdl.data import ArrayDataset
from kdl.training import Backup
from kdl.training.callbacks.backup import read_history


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
    # Which must go on where they were, also that which draws from PyTorch's own numbers.
    drops = [keras.layers.Dropout(0.5, seed=3), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((3,)), *drops, keras.layers.Dense(1)])
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


@pytest.mark.every_backend
@pytest.mark.parametrize("kill_at", [0, 1, 3])
def test_killed_run_resumed_equals_uninterrupted(kill_at, tmp_path):
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


def test_half_written_backup_is_ignored(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, kill_at=2)
    current = tmp_path / "backup" / "current"
    shutil.copytree(tmp_path / "backup" / "epoch-2", current, dirs_exist_ok=True)
    (current / "latest.weights.h5").write_bytes(b"torn")
    model, backup = run(tmp_path)
    assert weights_and_steps(model)[1] == 16
    assert backup.finished_epochs == 4


def test_backup_has_only_newest_epoch_until_cleared(tmp_path):
    _, backup = run(tmp_path)
    assert os.listdir(tmp_path / "backup") == ["epoch-4"]
    model, _ = run(tmp_path)  # nothing is left to do
    assert weights_and_steps(model)[1] == 16
    backup.clear()
    assert not (tmp_path / "backup").exists()
    assert backup.finished_epochs == 0


def test_full_disk_ends_run_and_leaves_last_backup(tmp_path, monkeypatch):
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


def small_fit(folder, epochs, callbacks=(), x=None, **arguments):
    """Ten steps an epoch; the callbacks stand behind the backup, unless they bring it."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    if x is None:
        x, arguments = np.ones((20, 2)), {"y": np.ones(20), "batch_size": 2, **arguments}
    callbacks = list(callbacks)
    if not any(isinstance(c, Backup) for c in callbacks):
        callbacks.insert(0, Backup(folder / "backup"))
    model.fit(x, epochs=epochs, verbose=0, callbacks=callbacks, **arguments)
    return model


def finished(folder):
    return Backup(folder / "backup").finished_epochs


@pytest.mark.parametrize("frequency", [2, [1]])
def test_history_of_value_missing_in_an_epoch_is_empty_there(frequency, tmp_path):
    validation = {"validation_data": (np.ones((2, 2)), np.ones(2)), "validation_freq": frequency}
    small_fit(tmp_path, 2, **validation)
    small_fit(tmp_path, 3, **validation)
    rows = read_history(tmp_path / "history.csv")
    there = [frequency == [1], frequency == 2, False]
    assert ["val_loss" in row for row in rows] == there
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(np.isfinite(row["loss"]) for row in rows)


def test_history_of_value_new_in_resumed_run_has_a_column(tmp_path):
    small_fit(tmp_path, 1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    backup = Backup(tmp_path / "backup")
    model.fit(np.ones((2, 2)), np.ones(2), epochs=2, verbose=0, callbacks=[backup])
    assert [sorted(row) for row in backup.rows] == [["epoch", "loss"], ["epoch", "loss", "mae"]]
    assert read_history(tmp_path / "history.csv") == backup.rows


def test_logs_without_numbers_or_with_odd_names_are_written(tmp_path):
    class Log(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs.update({"epoch": 7, 'a, "b"\né': 1 / 3, "text": "x", "none": None, "nan": np.nan})

    backup = Backup(tmp_path / "backup")
    small_fit(tmp_path, 1, [Log(), backup])
    [row] = read_history(tmp_path / "history.csv")
    assert sorted(row) == ['a, "b"\né', "epoch", "loss", "nan"]
    assert row["epoch"] == 1
    assert row['a, "b"\né'] == 0.3333333
    assert np.isnan(row["nan"])


class StopAt(keras.callbacks.Callback):
    """Stops at a step, counted over all epochs, as a time limit does."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.model.stop_training = True


def unknown_length():
    """Ten batches, of which Keras learns by reading them."""
    for _ in range(10):
        yield np.ones((2, 2)), np.ones(2)


@pytest.mark.every_backend
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("step", "kept"), [(13, 1), (19, 1), (20, 2)])
def test_epoch_stopped_within_is_repeated(step, kept, before, tmp_path):
    backup = Backup(tmp_path / "backup")
    both = [StopAt(step), backup] if before else [backup, StopAt(step)]
    small_fit(tmp_path, 5, both)
    assert finished(tmp_path) == kept
    assert len(read_history(tmp_path / "history.csv")) == kept
    model = small_fit(tmp_path, 5)
    assert weights_and_steps(model)[1] == 50
    rows = read_history(tmp_path / "history.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("before", [True, False])
def test_cut_epoch_of_unknown_length_is_repeated(before, tmp_path):
    backup = Backup(tmp_path / "backup")
    both = [StopAt(3), backup] if before else [backup, StopAt(3)]
    small_fit(tmp_path, 1, both, x=unknown_length(), shuffle=False)
    assert finished(tmp_path) == 0


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("validate", [True, False])
def test_epoch_stopped_at_its_end_is_backed_up(validate, tmp_path):
    class StopAtEnd(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    known = {"y": np.ones(20), "batch_size": 2, "x": np.ones((20, 2))}
    validation = {"validation_data": (np.ones((2, 2)), np.ones(2))} if validate else {}
    data = {"x": unknown_length(), "shuffle": False} if validate else known
    small_fit(tmp_path, 3, [StopAtEnd(), Backup(tmp_path / "backup")], **data, **validation)
    assert finished(tmp_path) == 1


class Spoil(keras.callbacks.Callback):
    """Puts a value into the weights before a step, counted over all epochs."""

    def __init__(self, step, value=np.nan):
        super().__init__()
        self.left, self.value = step, value

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.model.layers[0].kernel.assign(np.full((2, 1), self.value))


def test_terminate_on_nan_leaves_the_epoch_before(tmp_path):
    if keras.backend.backend() == "jax":
        pytest.skip("Keras keeps the weights out of reach within an epoch")
    small_fit(tmp_path, 5, [Spoil(24), keras.callbacks.TerminateOnNaN()])
    assert finished(tmp_path) == 2
    model = small_fit(tmp_path, 5)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert weights_and_steps(model)[1] == 50


@pytest.mark.every_backend
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_do_not_replace_the_last_good_ones(value, tmp_path):
    class SpoilAtEnd(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch >= 1:
                self.model.layers[0].kernel.assign(np.full((2, 1), value))

    both = [SpoilAtEnd(), Backup(tmp_path / "backup")]
    with pytest.warns(UserWarning, match=r"Epoch 2 is not kept: .*kernel holds .* epoch 1") as told:
        small_fit(tmp_path, 3, both)
    assert sum("is not kept" in str(warning.message) for warning in told) == 1
    assert finished(tmp_path) == 1
    model = small_fit(tmp_path, 3)
    assert np.isfinite(model.get_weights()[0]).all()
    assert [row["epoch"] for row in read_history(tmp_path / "history.csv")] == [1, 2, 3]


def test_fixed_weights_may_be_infinite(tmp_path):
    class Mask(keras.layers.Layer):
        def build(self, input_shape):
            self.mask = self.add_weight(shape=(2,), initializer="zeros", trainable=False)

        def call(self, inputs):
            return keras.ops.maximum(inputs, self.mask)

    model = keras.Sequential([keras.Input((2,)), Mask(), keras.layers.Dense(1)])
    model.layers[0].mask.assign([-np.inf, 0.0])
    model.compile("sgd", "mse")
    backup = Backup(tmp_path / "backup")
    model.fit(np.ones((2, 2)), np.ones(2), verbose=0, callbacks=[backup])
    assert backup.finished_epochs == 1


def test_later_fit_begins_at_its_initial_epoch(tmp_path):
    small_fit(tmp_path, 2)
    model = small_fit(tmp_path, 3)
    epochs = []
    note = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))
    model.fit(np.ones((2, 2)), np.ones(2), epochs=2, verbose=0, callbacks=[note])
    assert epochs == [0, 1]
