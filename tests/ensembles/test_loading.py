import importlib.util
import json
import os
import re

import numpy as np
import pytest
from stand_ins import blobs, mlp, regression_stump, stump

import kdl
from kdl.ensembles import (
    AdaBoostEnsemble,
    BaggingEnsemble,
    VotingEnsemble,
    _member_training,
    _store,
)


@pytest.mark.every_backend
def test_saved_ensemble_loads_with_its_outputs(tmp_path):
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


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "name", ["ada_boost", "bagging", "deep", "gradient_boosted", "stacking", "voting"]
)
def test_ensemble_saved_by_an_earlier_version_gives_its_outputs(name, root):
    """Directories of kdl 0.1.0, which every later version reads."""
    folder = root / "saved_models" / "ensembles"
    expected = json.loads((folder / "outputs.json").read_text())
    ensemble = kdl.ensembles.load(folder / name)
    x = np.array(expected["x"], "float32")
    outputs = ensemble.predict(x) if name == "deep" else ensemble.predict_proba(x)
    assert outputs == pytest.approx(np.array(expected["outputs"][name]), abs=1e-5)


def test_saved_regression_of_named_members_loads(tmp_path):
    x, _ = blobs()
    y = np.stack([x[:, 0], x[:, 1]], -1)
    members = [("a", regression_stump), ("b", regression_stump)]
    ensemble = VotingEnsemble(members, weights=[1, 2], task="regression").fit(x, y)
    ensemble.save(tmp_path)
    loaded = kdl.ensembles.load(tmp_path, members)
    assert (loaded.predict(x) == ensemble.predict(x)).all()
    assert loaded.weights == [1, 2]
    assert loaded.members is members


def test_save_interrupted_leaves_old_ensemble(tmp_path, monkeypatch):
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


def test_interrupted_fit_in_directory_trains_the_rest(trainings, tmp_path, monkeypatch):
    x, y = blobs()
    whole = BaggingEnsemble(mlp, 3, seed=None)
    train = _member_training.train

    def stop_at_the_second(job):
        if "member 1" in job.name:
            raise KeyboardInterrupt
        return train(job)

    monkeypatch.setattr(_member_training, "train", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        whole.fit(x, y, directory=tmp_path / "kept")
    with pytest.raises(ValueError, match="not trained to its end; it has 1 members so far"):
        kdl.ensembles.load(tmp_path / "kept")
    monkeypatch.setattr(_member_training, "train", train)
    trainings.clear()
    again = BaggingEnsemble(mlp, 3, seed=None).fit(x, y, directory=tmp_path / "kept")
    assert trainings == ["member 1 of BaggingEnsemble", "member 2 of BaggingEnsemble"]
    # The seed that was drawn is kept, so that it is as if nothing had happened.
    monkeypatch.undo()
    expected = BaggingEnsemble(mlp, 3, seed=again.seed_).fit(x, y).predict_proba(x)
    assert (again.predict_proba(x) == expected).all()
    assert (kdl.ensembles.load(tmp_path / "kept").predict_proba(x) == expected).all()


def test_finished_fit_in_directory_trains_nothing(trainings, tmp_path):
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
def test_directory_of_another_ensemble_raises(tmp_path, changes, differs):
    x, y = blobs(count=30)
    BaggingEnsemble(stump, 2).fit(x, y, directory=tmp_path)
    other = BaggingEnsemble(**{"build": stump, "n_members": 2, **changes})
    with pytest.raises(ValueError, match=f"holds an ensemble with other .*{differs}"):
        other.fit(x, y, directory=tmp_path)
    with pytest.raises(ValueError, match="holds an ensemble with other data"):
        BaggingEnsemble(stump, 2).fit(x + 1, y, directory=tmp_path)


FOREIGN = [
    "member-anna.keras",
    "member-1.keras",
    "member-0-0123456789ab.keras.txt",
    "member-of-0123456789ab.keras",
    ".x.part",
    ".photo.jpg.0123abcd-1-0123abcd.part",
]


def test_save_keeps_files_of_others(tmp_path):
    ensemble = BaggingEnsemble(stump, 1).fit(*blobs(count=30))
    ensemble.save(tmp_path)
    drafts = [f".{name}.0123abcd-1-0123abcd.part" for name in os.listdir(tmp_path)]
    for name in (*FOREIGN, *drafts):
        (tmp_path / name).write_text("of somebody else")
    ensemble.save(tmp_path)
    assert set(FOREIGN) < set(os.listdir(tmp_path))
    assert not {*drafts} & {*os.listdir(tmp_path)}  # what a kill has left


@pytest.mark.parametrize("name", FOREIGN)
def test_directory_with_a_file_like_a_member_raises(name, tmp_path):
    (tmp_path / name).write_text("of somebody else")
    with pytest.raises(ValueError, match=f"holds other files .{re.escape(name)}"):
        BaggingEnsemble(stump, 1).fit(*blobs(count=30), directory=tmp_path)
    assert os.listdir(tmp_path) == [name]


def test_directories_with_other_files_raise(tmp_path):
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
    """One with outputs of the same shape."""
    stump((4,), 3).save(next(folder.glob("*.keras")))


def missing_member(folder):
    next(folder.glob("*.keras")).unlink()


def manifests_of_others(manifest):
    """Pairs of a name and the text of an odd manifest."""
    for name in ("class", "finished", "members", "arguments", "parameters", "seed", "state"):
        yield f"without {name}", json.dumps({k: v for k, v in manifest.items() if k != name})
        yield f"number as {name}", json.dumps({**manifest, name: 1.5})
    for name in ("input_shape", "classes", "oob_score"):
        state = {k: v for k, v in manifest["state"].items() if k != name}
        yield f"state without {name}", json.dumps({**manifest, "state": state})
    yield (
        "classes of a number",
        json.dumps({**manifest, "state": {**manifest["state"], "classes": 3}}),
    )
    yield "unknown parameter", json.dumps({**manifest, "parameters": {"loudness": 1}})
    yield "member elsewhere", json.dumps({**manifest, "members": {"0": "../member-0-a.keras"}})
    for text in ("[]", "null", "3", "{}", '"words"', "", "\0", "[" * 100_000):
        yield text[:10], text


def test_load_of_odd_manifest_raises_error_with_its_path(tmp_path):
    """Every one is a ValueError that names the file, and leaves no half-made ensemble."""
    BaggingEnsemble(stump, 1).fit(*blobs(count=30)).save(tmp_path)
    path = tmp_path / "ensemble.json"
    for name, text in manifests_of_others(json.loads(path.read_text())):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"ensemble\.json") as caught:
            kdl.ensembles.load(tmp_path)
        assert str(tmp_path) in str(caught.value), name


def test_load_of_manifest_with_too_few_numbers_raises_error_with_its_path(tmp_path):
    x, y = blobs()
    AdaBoostEnsemble(stump, 3).fit(x, y).save(tmp_path)
    path = tmp_path / "ensemble.json"
    manifest = json.loads(path.read_text())
    manifest["state"]["member_weights"].pop()
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"ensemble\.json .*it has 3 members"):
        kdl.ensembles.load(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoiled({"format": 2}), "has format 2; this version of kdl reads format 1"),
        (spoiled({"class": "Choir"}), r"ensemble\.json holds a 'Choir'"),
        (lambda folder: (folder / "ensemble.json").write_text("{"), "is not the manifest"),
        (
            lacking("finished"),
            r"ensemble\.json is not the manifest .*finished must be",
        ),
        (lacking("state"), r"ensemble\.json is not the manifest of an ensemble.*state must be"),
        (spoiled({"state": {}}), r"ensemble\.json is not the manifest .*KeyError.*'input_shape'"),
        (spoiled({"class": "AdaBoostEnsemble"}), r"ensemble\.json is not .*TypeError.*'bootstrap'"),
        (broken_member, "member-0-.*keras in .* is damaged"),
        (foreign_member, "member-0-.*keras in .* is damaged, or a file of something else"),
        (missing_member, "member-0-.*keras is missing"),
    ],
)
def test_load_of_bad_files_raises(tmp_path, spoil, message):
    BaggingEnsemble(stump, 1).fit(*blobs(count=30)).save(tmp_path)
    spoil(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        kdl.ensembles.load(tmp_path)


def test_package_without_scikit_learn_raises_its_name(monkeypatch):
    """The package can be imported, and says what is missing when it is used."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(vars(kdl.ensembles), "VotingEnsemble", raising=False)
    with pytest.raises(ImportError, match=r"pip install scikit-learn"):
        kdl.ensembles.VotingEnsemble  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'Choir'"):
        kdl.ensembles.Choir  # noqa: B018
