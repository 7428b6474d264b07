import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier
from stand_ins import blobs, mlp, stump

import kdl
from kdl.ensembles import AdaBoostEnsemble, _boosting
from kdl.ensembles._member_outputs import softmax

pytestmark = pytest.mark.usefixtures("no_dry_run")


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_samme_of_stumps_equals_scikit_learn(classes, weighted):
    """From start to end: each stump is trained on the weights of the one before."""
    x, y = blobs(classes)
    weights = np.random.default_rng(0).integers(1, 5, len(x)) if weighted else None
    tree = DecisionTreeClassifier(max_depth=1, random_state=0)
    theirs = AdaBoostClassifier(tree, n_estimators=6, learning_rate=0.7, random_state=0)
    theirs.fit(x, y, weights)
    ours = clone(AdaBoostEnsemble(stump, 6, learning_rate=0.7)).fit(x, y, weights)
    assert ours.member_errors_ == pytest.approx(theirs.estimator_errors_)
    assert ours.member_weights_ == pytest.approx(theirs.estimator_weights_)
    assert ours.decision_function(x) == pytest.approx(theirs.decision_function(x))
    assert ours.predict_proba(x) == pytest.approx(theirs.predict_proba(x))
    assert (ours.predict(x) == theirs.predict(x)).all()
    stages = zip(ours.staged_predict_proba(x), theirs.staged_predict_proba(x), strict=True)
    assert all(our_stage == pytest.approx(their_stage) for our_stage, their_stage in stages)
    assert ours.score(x, y) == theirs.score(x, y)


@pytest.mark.every_backend
def test_samme_r_follows_its_definition():
    """The definition, member after member."""
    x, y = blobs()
    ensemble = AdaBoostEnsemble(mlp, 3, algorithm="SAMME.R", learning_rate=0.5).fit(x, y)
    labels = np.searchsorted(ensemble.classes_, y)
    weights, total = np.full(90, 1 / 90), 0
    for number, member in enumerate(ensemble.members_):
        p = member.predict(x).astype("float64").clip(2.3e-16)
        wrong = p.argmax(-1) != labels
        assert ensemble.member_errors_[number] == pytest.approx(weights[wrong].sum(), rel=1e-5)
        logarithms = np.log(p)
        total = total + 2 * (logarithms - logarithms.mean(-1, keepdims=True))
        codes = np.where(np.arange(3) == labels[:, None], 1, -0.5)
        weights = weights * np.exp(-0.5 * 2 / 3 * (codes * logarithms).sum(-1))
        weights /= weights.sum()
    assert ensemble.predict_proba(x) == pytest.approx(softmax(total / 3 / 2), abs=1e-6)
    assert ensemble.member_weights_.tolist() == [1, 1, 1]
    assert ensemble.score(x, y) > 0.6


def test_resample_draws_samples_by_weight(monkeypatch):
    """Members see n samples drawn by weight, without weights."""
    x, y = blobs()
    jobs, make = [], AdaBoostEnsemble._job

    def record(self, *args, **kwargs):
        jobs.append(make(self, *args, **kwargs))
        return jobs[-1]

    monkeypatch.setattr(AdaBoostEnsemble, "_job", record)
    ensemble = AdaBoostEnsemble(stump, 4, resample=True).fit(x, y)
    assert all(job.weights is None and len(job.samples) == 90 for job in jobs)
    # What the first member got wrong is drawn more often: it has more than half of the weight.
    labels = np.searchsorted(ensemble.classes_, y)
    wrong = ensemble.members_[0].predict(x).argmax(-1) != labels
    assert wrong[jobs[1].samples].mean() > 1.3 * wrong.mean()


def test_sample_weights_of_members_have_mean_of_one(monkeypatch):
    x, y = blobs()
    seen, make = [], AdaBoostEnsemble._job

    def record(self, *args, weights, **kwargs):
        seen.append(weights)
        return make(self, *args, weights=weights, **kwargs)

    monkeypatch.setattr(AdaBoostEnsemble, "_job", record)
    AdaBoostEnsemble(stump, 3).fit(x, y, np.full(90, 7.0))
    assert seen[0] == pytest.approx(1)
    assert [weights.mean() for weights in seen] == pytest.approx([1, 1, 1])
    assert seen[2].max() > 1.5


def test_fit_of_member_without_errors_ends_boosting():
    x = np.array([[0.0], [1.0], [2.0], [3.0]], "float32")
    for algorithm in ("SAMME", "SAMME.R"):
        ensemble = AdaBoostEnsemble(stump, 5, algorithm=algorithm).fit(x, [0, 0, 1, 1])
        assert len(ensemble.members_) == 1
        assert ensemble.member_errors_.tolist() == [0]
        assert (ensemble.predict(x) == [0, 0, 1, 1]).all()


def test_fit_of_first_member_no_better_than_chance_raises():
    """A useless first member is an error; a later one is left out."""
    x = np.zeros((4, 1), "float32")
    with pytest.raises(ValueError, match=r"first member is wrong on 50\.0% of the weight"):
        AdaBoostEnsemble(stump).fit(x, [0, 1, 0, 1])
    x, y = blobs(count=30)
    with pytest.MonkeyPatch.context() as patch:
        step = _boosting.samme_step
        steps = [step, lambda *args: (0.7, None, None)]
        patch.setattr(_boosting, "samme_step", lambda *args: steps.pop(0)(*args))
        assert len(AdaBoostEnsemble(stump, 5).fit(x, y).members_) == 1


def test_interrupted_fit_in_directory_continues_with_its_weights(tmp_path, monkeypatch):
    """Cut off after two members, it goes on with the weights that it had; then it is loaded."""
    x, y = blobs()
    expected = AdaBoostEnsemble(stump, 4).fit(x, y)
    step, count = _boosting.samme_step, []

    def stop_after_two(*args):
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_boosting, "samme_step", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            AdaBoostEnsemble(stump, 4).fit(x, y, directory=tmp_path / "kept")
    AdaBoostEnsemble(stump, 4).fit(x, y, directory=tmp_path / "kept")
    loaded = kdl.ensembles.load(tmp_path / "kept")
    assert (loaded.member_weights_ == expected.member_weights_).all()
    assert (loaded.predict_proba(x) == expected.predict_proba(x)).all()


def test_progress_bar_of_fewer_members_ends_its_line(capsys):
    x = np.array([[0.0], [1.0]], "float32")
    AdaBoostEnsemble(stump, 5).fit(x, [0, 1], verbose=1)
    out = capsys.readouterr().out
    assert "1/5" in out
    assert out.endswith("\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "REAL"}, r"algorithm must be one of 'SAMME', 'SAMME\.R'; received 'REAL'"),
        ({"learning_rate": 0}, "learning_rate must be a positive number; received 0"),
        ({"n_members": -1}, "n_members must be a positive integer"),
    ],
)
def test_fit_with_bad_arguments_raises(changes, message):
    with pytest.raises(ValueError, match=message):
        AdaBoostEnsemble(stump, **changes).fit(*blobs(count=30))
