"""What `set_params` changes counts from the next `fit` on."""

import keras
import numpy as np
import pytest
from sklearn.base import clone
from stand_ins import blobs, linear_mlp, mlp, regression_stump, stump

from kdl.ensembles import (
    AdaBoostEnsemble,
    BaggingEnsemble,
    GradientBoostedEnsemble,
    StackingEnsemble,
    VotingEnsemble,
    _member_training,
    load,
)

pytestmark = pytest.mark.usefixtures("no_dry_run")

NAMED = [("a", mlp), ("b", stump)]
CHANGED = {
    "bagging": (BaggingEnsemble(mlp, 2), {"voting": "hard", "from_logits": True, "build": stump}),
    "task": (BaggingEnsemble(stump, 2), {"task": "regression"}),
    "voting": (VotingEnsemble(NAMED, weights=[3, 1]), {"members": NAMED[:1], "weights": [2]}),
    "SAMME": (AdaBoostEnsemble(stump, 2), {"algorithm": "SAMME.R", "n_members": 1}),
    "gradients": (GradientBoostedEnsemble(regression_stump, 2), {"task": "regression"}),
    "stacking": (
        StackingEnsemble(NAMED, cv=2, passthrough=True),
        {"passthrough": False, "from_logits": True, "final_estimator": "none"},
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_set_params_after_fit_changes_no_output(name, tmp_path):
    ensemble, changes = CHANGED[name]
    x, y = blobs(count=30)
    given = ensemble.get_params(deep=False)
    before = ensemble.fit(x, y).predict_proba(x)
    ensemble.set_params(**changes)
    assert (ensemble.predict_proba(x) == before).all()
    assert (ensemble.predict(x) == ensemble.classes_[before.argmax(-1)]).all()
    assert ensemble.score(x, y) == (ensemble.predict(x) == y).mean()
    outputs = keras.ops.convert_to_numpy(ensemble.to_keras()(x))
    assert outputs == pytest.approx(before, abs=1e-5)
    ensemble.save(tmp_path)
    loaded = load(tmp_path)
    assert (loaded.predict_proba(x) == before).all()
    assert loaded.get_params(deep=False) == {**given, ensemble._build_parameter: None}
    now = {name: ensemble.get_params(deep=False)[name] for name in changes}
    assert now == changes


def test_set_params_counts_for_next_fit_and_clones(tmp_path):
    x, y = blobs(count=30)
    ensemble = BaggingEnsemble(mlp, 2, fit_arguments={"epochs": 1}).fit(x, y)
    ensemble.set_params(n_members=1, voting="hard")
    copy = clone(ensemble)
    assert (copy.n_members, copy.voting) == (1, "hard")
    ensemble.fit(x, y).save(tmp_path)
    assert len(ensemble.members_) == 1
    assert set(np.unique(ensemble.predict_proba(x))) == {0, 1}
    assert load(tmp_path).get_params() == {**copy.get_params(), "build": None}


def test_fit_with_bad_parameter_changes_no_output():
    x, y = blobs(count=30)
    ensemble = BaggingEnsemble(stump, 1).fit(x, y)
    before = ensemble.predict_proba(x)
    with pytest.raises(ValueError, match="voting must be one of"):
        ensemble.set_params(voting="loud").fit(x, y)
    assert (ensemble.predict_proba(x) == before).all()


def test_saved_fit_arguments_are_those_of_fit(tmp_path):
    x, y = blobs(count=30)
    arguments = {"epochs": 2}
    ensemble = BaggingEnsemble(mlp, 1, arguments).fit(x, y)
    arguments["epochs"] = 50
    ensemble.save(tmp_path)
    assert load(tmp_path).fit_arguments == {"epochs": 2}


def test_ensemble_loaded_and_saved_matches_its_fit(tmp_path, monkeypatch):
    """What was read and written again is known to `fit` as what it is."""
    x, y = blobs(count=30)
    arguments = {"callbacks": [keras.callbacks.EarlyStopping("loss")]}
    first = BaggingEnsemble(linear_mlp, 1, arguments, from_logits=True)
    first.fit(x, y, directory=tmp_path / "first")
    load(tmp_path / "first").save(tmp_path / "second")
    monkeypatch.setattr(_member_training, "train", None)
    again = clone(first).fit(x, y, directory=tmp_path / "second")
    assert (again.predict_proba(x) == first.predict_proba(x)).all()
