"""What makes a directory another ensemble's, and what does not."""

import errno
import json
import pathlib
from functools import partial

import keras
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from stand_ins import blobs, mlp, regression_stump, stump

from kdl.ensembles import BaggingEnsemble, _member_training, _store, load


def stumps(depth):
    def build(input_shape, outputs):
        assert depth
        return stump(input_shape, outputs)

    return build


class Builder:
    def __init__(self, units):
        self.units = units

    def build(self, input_shape, outputs):
        return mlp(input_shape, outputs, self.units)


def around(build):
    def of_it(input_shape, outputs):
        return build(input_shape, outputs)

    return of_it


def with_options(input_shape, outputs, options):
    return stump(input_shape, outputs)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Builder(2).build, Builder(3).build),
        (around(around(Builder(2).build)), around(around(Builder(3).build))),
        (
            partial(with_options, options=Builder(Builder(2))),
            partial(with_options, options=Builder(Builder(3))),
        ),
        (
            partial(with_options, options=Builder(np.zeros(2000))),
            partial(with_options, options=Builder(np.ones(2000))),
        ),
        (partial(mlp, units=2), partial(mlp, units=3)),
        (stumps(1), stumps(2)),
        (
            lambda shape, outputs: mlp(shape, outputs, 2),
            lambda shape, outputs: mlp(shape, outputs, 3),
        ),
    ],
)
def test_directory_with_another_build_raises(old, new, tmp_path):
    x, y = blobs()
    BaggingEnsemble(old, 1).fit(x, y, directory=tmp_path / "it")
    BaggingEnsemble(old, 1).fit(x, y, directory=tmp_path / "it")
    with pytest.raises(ValueError, match="an ensemble with other build"):
        BaggingEnsemble(new, 1).fit(x, y, directory=tmp_path / "it")


def test_directory_with_another_schedule_raises(tmp_path):
    x, y = blobs()

    def ensemble(rate):
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch: rate)
        return BaggingEnsemble(mlp, 1, {"callbacks": [schedule]})

    ensemble(1e-9).fit(x, y, directory=tmp_path / "it")
    with pytest.raises(ValueError, match="an ensemble with other fit_arguments"):
        ensemble(0.5).fit(x, y, directory=tmp_path / "it")


def test_model_built_again_as_template_is_the_same(tmp_path):
    x, y = blobs()
    written = []
    for _ in range(2):  # Keras gives its layers other names the second time
        BaggingEnsemble(mlp((4,), 3), 1).fit(x, y, directory=tmp_path / "it")
        written.append([p.stat().st_mtime_ns for p in sorted(tmp_path.glob("it/*"))])
    assert len(written[0]) == 2
    assert written[0] == written[1]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_damaged_member_is_trained_anew(harm, finished, trainings, tmp_path):
    x, y = blobs()
    before = BaggingEnsemble(stump, 2).fit(x, y, directory=tmp_path / "it").predict_proba(x)
    manifest = pathlib.Path(tmp_path / "it" / "ensemble.json")
    if not finished:
        manifest.write_text(manifest.read_text().replace('"finished": true', '"finished": false'))
    member = sorted(tmp_path.glob("it/member-*.keras"))[0]
    content = member.read_bytes()
    member.unlink()
    if harm == "truncated":
        member.write_bytes(content[:1000])
    trainings.clear()
    again = BaggingEnsemble(stump, 2).fit(x, y, directory=tmp_path / "it")
    np.testing.assert_array_equal(again.predict_proba(x), before)
    assert len(trainings) == 1
    np.testing.assert_array_equal(load(tmp_path / "it").predict_proba(x), before)


@pytest.mark.skipif(_store.fcntl is None, reason="Windows has no such locks")
def test_second_writer_of_directory_raises(tmp_path, monkeypatch):
    """Two would remove each other's files."""
    monkeypatch.setattr(_store, "_PATIENCE", 0.05)
    x, y = blobs(count=30)
    ensemble = BaggingEnsemble(stump, 1).fit(x, y)
    with _store.opened(tmp_path):
        with pytest.raises(RuntimeError, match="Another fit or save is writing to"):
            BaggingEnsemble(stump, 1).fit(x, y, directory=tmp_path)
        with pytest.raises(RuntimeError, match="Another fit or save is writing to"):
            ensemble.save(tmp_path)
    ensemble.save(tmp_path)
    BaggingEnsemble(stump, 1).fit(x, y, directory=tmp_path / "other")


@pytest.mark.skipif(_store.fcntl is None, reason="Windows has no such locks")
def test_disk_without_locks_is_written(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(_store.fcntl, "flock", refuse)
    x, y = blobs(count=30)
    assert BaggingEnsemble(stump, 1).fit(x, y, directory=tmp_path).members_


def test_unwritable_directory_raises_before_training(tmp_path, monkeypatch):
    def refuse(path, content):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(_store, "write_whole", refuse)
    monkeypatch.setattr(_member_training, "train", None)
    with pytest.raises(PermissionError, match=r"ensemble\.json"):
        BaggingEnsemble(stump, 1).fit(*blobs(count=30), directory=tmp_path)


def test_disk_that_fills_up_keeps_finished_members(trainings, tmp_path, monkeypatch):
    """The next call trains what had no place."""
    x, y = blobs(count=30)
    write, names = _store.write_whole, []

    def fill_up(path, content):
        names.append(path)
        if len(names) == 4:  # manifest, member, manifest, member
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(_store, "write_whole", fill_up)
        with pytest.raises(OSError, match="No space left"):
            BaggingEnsemble(stump, 2).fit(x, y, directory=tmp_path)
    trainings.clear()
    BaggingEnsemble(stump, 2).fit(x, y, directory=tmp_path)
    assert trainings == ["member 1 of BaggingEnsemble"]


def test_second_fit_saves_fingerprint_of_its_data(tmp_path):
    x, y = blobs()
    ensemble = BaggingEnsemble(stump, 1).fit(x, y, directory=tmp_path / "first")
    ensemble.fit(x[::2], y[::2]).save(tmp_path / "second")
    with pytest.raises(ValueError, match="an ensemble with other data"):
        BaggingEnsemble(stump, 1).fit(x, y, directory=tmp_path / "second")


def test_failed_fit_leaves_ensemble_unfitted():
    x, y = blobs()
    ensemble = BaggingEnsemble(stump, 1).fit(x, y)
    with pytest.raises(ValueError, match="samples"):
        ensemble.fit(x, y[:3])
    with pytest.raises(NotFittedError):
        ensemble.predict(x)


def test_string_dtype_labels_are_saved_and_loaded(tmp_path):
    x, y = blobs()
    numbers = np.unique(y, return_inverse=True)[1]
    labels = np.array(["a", "b", "c"], np.dtypes.StringDType())[numbers]
    BaggingEnsemble(stump, 1).fit(x, labels).save(tmp_path / "it")
    assert set(load(tmp_path / "it").predict(x)) <= {"a", "b", "c"}


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("older", [False, True])
def test_directory_with_other_labels_raises(finished, older, tmp_path):
    """Labels go to the members as numbers, which are the same for any three of them."""
    x, y = blobs()
    numbers = np.unique(y, return_inverse=True)[1]
    BaggingEnsemble(stump, 1).fit(x, np.array(["a", "b", "c"])[numbers], directory=tmp_path / "it")
    path = tmp_path / "it" / "ensemble.json"
    manifest = json.loads(path.read_text())
    if older:  # which knew the labels of finished ensembles alone
        del manifest["labels"]
    if not finished:
        manifest["finished"] = False
        del manifest["state"]
    path.write_text(json.dumps(manifest))
    others = np.array(["u", "v", "w"])[numbers]
    if older and not finished:
        again = BaggingEnsemble(stump, 1).fit(x, others, directory=tmp_path / "it")
        assert again.classes_.tolist() == ["u", "v", "w"]
        return
    with pytest.raises(ValueError, match="an ensemble with other labels"):
        BaggingEnsemble(stump, 1).fit(x, others, directory=tmp_path / "it")


def test_finished_fit_in_directory_predicts_labels_of_the_call(tmp_path):
    """1 is equal to 1.0, but not the same."""
    x, y = blobs()
    numbers = np.unique(y, return_inverse=True)[1]
    for labels in (np.array([0, 1, 2]), np.array([0.0, 1.0, 2.0])):
        ensemble = BaggingEnsemble(stump, 1).fit(x, labels[numbers], directory=tmp_path / "it")
        assert ensemble.predict(x).dtype == labels.dtype


def test_targets_in_a_column_are_predicted_in_a_column(tmp_path):
    x, _ = blobs()
    for targets in (x[:, 0], x[:, :1]):
        ensemble = BaggingEnsemble(regression_stump, 1, task="regression")
        ensemble.fit(x, targets, directory=tmp_path / "it")
        assert ensemble.predict(x).shape == targets.shape
