import importlib.util
import json
import os

import numpy as np
import pytest
from stand_ins import blobs, mlp, regression_stump, stump

import kdl
from kdl.ensembles import BaggingEnsemble, VotingEnsemble, _store, _worker


def test_round_trip(tmp_path):
    x, y = blobs()
    ensemble = BaggingEnsemble(mlp, 2, {"epochs": 2}, oob_score=True, seed=3)
    with pytest.warns(UserWarning, match="train more members"):
        ensemble.fit(x, y)
    ensemble.save(tmp_path / "ensemble")
    loaded = kdl.ensembles.load(tmp_path / "ensemble")
    assert (loaded.predict_proba(x) == ensemble.predict_proba(x)).all()
    assert loaded.get_params() == {**ensemble.get_params(), "build": None}
    assert loaded.oob_score_ == ensemble.oob_score_
    with pytest.raises(ValueError, match="build must be a function"):
        loaded.fit(x, y)
    with pytest.warns(UserWarning, match="train more members"):
        again = kdl.ensembles.load(tmp_path / "ensemble", mlp).fit(x, y)
    assert (again.predict_proba(x) == ensemble.predict_proba(x)).all()


def test_regression_and_named_members(tmp_path):
    x, _ = blobs()
    y = np.stack([x[:, 0], x[:, 1]], -1)
    members = [("a", regression_stump), ("b", regression_stump)]
    ensemble = VotingEnsemble(members, weights=[1, 2], task="regression").fit(x, y)
    ensemble.save(tmp_path)
    loaded = kdl.ensembles.load(tmp_path, members)
    assert (loaded.predict(x) == ensemble.predict(x)).all()
    assert loaded.weights == [1, 2]
    assert loaded.members is members


def test_save_replaces_in_one_step(tmp_path, monkeypatch):
    """A kill before the manifest is replaced leaves the old ensemble, and files that go next."""
    x, y = blobs()
    old = BaggingEnsemble(stump, 2).fit(x, y)
    new = BaggingEnsemble(stump, 3, seed=1).fit(x, y)
    old.save(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(_store.Store, "_replace", lambda self, manifest: os.abort_here)
        with pytest.raises(AttributeError, match="abort_here"):
            new.save(tmp_path)
    assert len(os.listdir(tmp_path)) == 1 + 2 + 3
    assert (kdl.ensembles.load(tmp_path).predict_proba(x) == old.predict_proba(x)).all()
    new.save(tmp_path)
    assert len(os.listdir(tmp_path)) == 1 + 3
    assert (kdl.ensembles.load(tmp_path).predict_proba(x) == new.predict_proba(x)).all()


def test_interrupted_training_goes_on(trainings, tmp_path, monkeypatch):
    x, y = blobs()
    whole = BaggingEnsemble(mlp, 3, seed=None)
    train = _worker.train

    def stop_at_the_second(job):
        if "member 1" in job.name:
            raise KeyboardInterrupt
        return train(job)

    monkeypatch.setattr(_worker, "train", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        whole.fit(x, y, directory=tmp_path / "kept")
    with pytest.raises(ValueError, match="not trained to its end; it has 1 members so far"):
        kdl.ensembles.load(tmp_path / "kept")
    monkeypatch.setattr(_worker, "train", train)
    trainings.clear()
    again = BaggingEnsemble(mlp, 3, seed=None).fit(x, y, directory=tmp_path / "kept")
    assert trainings == ["member 1 of BaggingEnsemble", "member 2 of BaggingEnsemble"]
    # The seed that was drawn is kept, so that it is as if nothing had happened.
    monkeypatch.undo()
    expected = BaggingEnsemble(mlp, 3, seed=again.seed_).fit(x, y).predict_proba(x)
    assert (again.predict_proba(x) == expected).all()
    assert (kdl.ensembles.load(tmp_path / "kept").predict_proba(x) == expected).all()


def test_finished_training_is_left_as_it_is(trainings, tmp_path):
    x, y = blobs()
    first = BaggingEnsemble(stump, 2).fit(x, y, directory=tmp_path)
    assert len(trainings) == 2
    again = BaggingEnsemble(stump, 2).fit(x, y, directory=tmp_path)
    assert len(trainings) == 2
    assert (again.predict_proba(x) == first.predict_proba(x)).all()


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"n_members": 3}, "n_members"),
        ({"build": mlp}, "build"),
        ({"seed": 1}, "seed"),
        ({"fit_arguments": {"epochs": 2}}, "fit_arguments"),
    ],
)
def test_directory_of_another_ensemble(tmp_path, changes, differs):
    x, y = blobs(count=30)
    BaggingEnsemble(stump, 2).fit(x, y, directory=tmp_path)
    other = BaggingEnsemble(**{"build": stump, "n_members": 2, **changes})
    with pytest.raises(ValueError, match=f"holds an ensemble with other .*{differs}"):
        other.fit(x, y, directory=tmp_path)
    with pytest.raises(ValueError, match="holds an ensemble with other data"):
        BaggingEnsemble(stump, 2).fit(x + 1, y, directory=tmp_path)


def test_bad_directories(tmp_path):
    ensemble = BaggingEnsemble(stump, 1).fit(*blobs(count=30))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(ValueError, match=r"holds other files \(cat.jpg, …\) and no ensemble"):
        ensemble.save(tmp_path / "photos")
    with pytest.raises(ValueError, match="is a file; an ensemble is kept in a directory"):
        ensemble.save(tmp_path / "photos" / "cat.jpg")
    with pytest.raises(FileNotFoundError, match="holds no ensemble"):
        kdl.ensembles.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="not fitted"):
        BaggingEnsemble(stump, 1).save(tmp_path / "new")


def spoiled(change):
    def spoil(folder):
        path = folder / "ensemble.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    return spoil


def lacking(name):
    def spoil(folder):
        path = folder / "ensemble.json"
        manifest = json.loads(path.read_text())
        del manifest[name]
        path.write_text(json.dumps(manifest))

    return spoil


def broken_member(folder):
    next(folder.glob("*.keras")).write_bytes(b"PK")


def foreign_member(folder):
    """One that answers in the same shape."""
    stump((4,), 3).save(next(folder.glob("*.keras")))


def missing_member(folder):
    next(folder.glob("*.keras")).unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoiled({"format": 2}), "has format 2; this version of kdl reads format 1"),
        (spoiled({"class": "Choir"}), "holds a 'Choir'"),
        (lambda folder: (folder / "ensemble.json").write_text("{"), "is not the manifest"),
        (lacking("finished"), "is not the manifest of an ensemble: KeyError.'finished'"),
        (lacking("state"), "is not the manifest of an ensemble: KeyError.'state'"),
        (spoiled({"state": {}}), "that is no BaggingEnsemble's: KeyError.'input_shape'"),
        (spoiled({"class": "AdaBoostEnsemble"}), "no AdaBoostEnsemble's: TypeError.*'bootstrap'"),
        (broken_member, "member-0-.*keras in .* is damaged"),
        (foreign_member, "member-0-.*keras in .* is damaged, or a file of something else"),
        (missing_member, "member-0-.*keras is missing"),
    ],
)
def test_bad_files(tmp_path, spoil, message):
    BaggingEnsemble(stump, 1).fit(*blobs(count=30)).save(tmp_path)
    spoil(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        kdl.ensembles.load(tmp_path)


def test_without_scikit_learn(monkeypatch):
    """The package can be imported, and says what is missing when it is used."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(vars(kdl.ensembles), "VotingEnsemble", raising=False)
    with pytest.raises(ImportError, match=r"pip install scikit-learn"):
        kdl.ensembles.VotingEnsemble  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'Choir'"):
        kdl.ensembles.Choir  # noqa: B018
