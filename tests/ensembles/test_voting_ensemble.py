from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.tree import DecisionTreeClassifier
from stand_ins import blobs, mlp, regression_stump, stump

from kdl.ensembles import VotingEnsemble, load

pytestmark = pytest.mark.usefixtures("no_dry_run")

MEMBERS = [("stump", stump), ("small", partial(mlp, units=4)), ("wide", mlp, {"epochs": 3})]


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_voting_combines_its_members(voting):
    x, y = blobs()
    ensemble = clone(VotingEnsemble(MEMBERS, voting, weights=[1, 2, 3])).fit(x, y)
    outputs = ensemble.predict_members(x)
    if voting == "hard":
        outputs = np.eye(3)[outputs.argmax(-1)]
    expected = (outputs[0] + 2 * outputs[1] + 3 * outputs[2]) / 6
    assert ensemble.predict_proba(x) == pytest.approx(expected)
    assert (ensemble.predict(x) == ensemble.classes_[expected.argmax(-1)]).all()
    assert ensemble.uncertainty(x)["predictive_entropy"].shape == (90,)


def test_voting_of_stumps_equals_scikit_learn():
    x, y = blobs()
    tree = DecisionTreeClassifier(max_depth=1, random_state=0)
    named = [("a", tree), ("b", tree)]
    weights = np.random.default_rng(0).integers(1, 5, len(x))
    for voting in ("soft", "hard"):
        theirs = VotingClassifier(named, voting=voting, weights=[2, 1])
        theirs.fit(x, y, sample_weight=weights)
        ours = VotingEnsemble([("a", stump), ("b", stump)], voting, [2, 1]).fit(x, y, weights)
        assert (ours.predict(x) == theirs.predict(x)).all()
    assert ours.score(x, y) > 0.5


def test_regression_predicts_mean_of_members():
    x, _ = blobs()
    members = [("a", regression_stump), ("b", regression_stump)]
    ensemble = VotingEnsemble(members, task="regression").fit(x, x.sum(-1))
    assert ensemble.predict(x) == pytest.approx(ensemble.predict_members(x).mean(0)[:, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": []}, r"members must be a list of \(name, build\)"),
        ({"members": [stump]}, "one is <function stump"),
        ({"members": [("a", stump), ("a", stump)]}, "names must differ; received a, a"),
        ({"members": [("a", stump, {"x": 1})]}, "fit_arguments may not hold x"),
        ({"weights": [1.0]}, "weights must be 3 numbers"),
        ({"weights": [0, 0, 0]}, "not negative and not all 0"),
    ],
)
def test_fit_with_bad_arguments_raises(changes, message):
    with pytest.raises(ValueError, match=message):
        VotingEnsemble(**{"members": MEMBERS, **changes}).fit(*blobs(count=30))


def test_error_of_build_names_the_member():
    with pytest.raises(RuntimeError, match="training of member 'odd' of VotingEnsemble failed"):
        VotingEnsemble([("odd", lambda shape, outputs: None)]).fit(*blobs(count=30))


@pytest.mark.parametrize("weights", [np.array([3.0, 1.0]), (3, 1), [np.float32(3), np.int64(1)]])
def test_weights_of_any_kind_are_saved(weights, tmp_path):
    x, y = blobs()
    ensemble = VotingEnsemble([("a", stump), ("b", mlp)], weights=weights).fit(x, y)
    ensemble.save(tmp_path / "kept")
    results = load(tmp_path / "kept").predict_proba(x)
    np.testing.assert_array_equal(results, ensemble.predict_proba(x))


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_not_finite_raise(weight):
    members = [("a", lambda *_: None), ("b", lambda *_: None)]
    with pytest.raises(ValueError, match="weights must be 2 numbers, one a member, finite"):
        VotingEnsemble(members, weights=[weight, 1.0]).fit(np.zeros((4, 2)), np.arange(4) % 2)
