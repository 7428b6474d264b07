from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from stand_ins import blobs, mlp, stump

import kdl
from kdl.ensembles import StackingEnsemble, _member_training
from kdl.ensembles._model_files import read_model

pytestmark = pytest.mark.usefixtures("no_dry_run")

STUMPS = [("a", stump), ("b", stump)]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("passthrough", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_stacking_of_stumps_equals_scikit_learn(classes, passthrough, weighted):
    x, y = blobs(classes)
    weights = np.random.default_rng(0).integers(1, 5, len(x)) if weighted else None
    tree = DecisionTreeClassifier(max_depth=1, random_state=0)
    final = LogisticRegression(tol=1e-8, max_iter=1000)
    cv = 5 if weighted and passthrough else 2
    theirs = StackingClassifier([("a", tree), ("b", tree)], final, cv=cv, passthrough=passthrough)
    theirs.fit(x, y, **({"sample_weight": weights} if weighted else {}))
    ours = clone(StackingEnsemble(STUMPS, final, cv, passthrough)).fit(x, y, weights)
    assert ours.transform(x) == pytest.approx(theirs.transform(x), abs=1e-6)
    assert ours.transform(x).shape[1] == (2 if classes == 2 else 6) + 4 * passthrough
    assert ours.final_estimator_.coef_ == pytest.approx(theirs.final_estimator_.coef_, abs=1e-4)
    assert ours.predict_proba(x) == pytest.approx(theirs.predict_proba(x), abs=1e-5)
    assert (ours.predict(x) == theirs.predict(x)).all()


def test_final_estimator_is_fitted_on_out_of_fold_outputs(monkeypatch):
    """The features of a fold come from members that were not trained on it."""
    x, y = blobs()
    seen, jobs, train = [], [], _member_training.train
    monkeypatch.setattr(_member_training, "train", lambda job: jobs.append(job) or train(job))

    class Spy(LogisticRegression):
        def fit(self, features, labels, sample_weight=None):
            seen.append(features)
            return super().fit(features, labels, sample_weight)

    splitter = KFold(3, shuffle=True, random_state=0)
    ensemble = StackingEnsemble([("net", mlp)], Spy(), cv=splitter).fit(x, y)
    expected = np.zeros((90, 3))
    for job, (rest, rows) in zip(jobs[1:], splitter.split(x), strict=True):
        assert (job.samples == rest).all()
        expected[rows] = read_model(train(job)).predict(x[rows])
    assert seen[0] == pytest.approx(expected)
    assert jobs[0].samples is None
    assert abs(ensemble.transform(x) - expected).max() > 1e-3
    assert len({job.seed for job in jobs}) == 4


def test_images_in_directory_are_resumed(tmp_path, monkeypatch):
    """Cut off among the folds, it goes on there; then what is finished is only read."""
    x, y = blobs()
    x = x.reshape(90, 2, 2, 1)
    members = [("a", mlp), ("b", partial(mlp, units=3))]
    make = partial(StackingEnsemble, members, cv=3, passthrough=True)
    expected = make().fit(x, y).predict_proba(x)
    names, train = [], _member_training.train

    def stop(job):
        names.append(job.name)
        if len(names) == 5:
            raise KeyboardInterrupt
        return train(job)

    monkeypatch.setattr(_member_training, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        make().fit(x, y, directory=tmp_path)
    results = make().fit(x, y, directory=tmp_path).predict_proba(x)
    assert (results == expected).all()
    assert names[2] == "member 'a', fold 0 of StackingEnsemble"
    assert len(names) == 5 + 4
    assert len(list(tmp_path.glob("*.keras"))) == 2
    assert (kdl.ensembles.load(tmp_path).predict_proba(x) == expected).all()
    assert (make().fit(x, y, directory=tmp_path).predict_proba(x) == expected).all()
    assert len(names) == 9
    with pytest.raises(ValueError, match="holds an ensemble with other final_estimator"):
        make(LogisticRegression(C=9)).fit(x, y, directory=tmp_path)


def test_any_final_estimator_is_saved_and_loaded(tmp_path):
    x, y = blobs()
    ensemble = StackingEnsemble(STUMPS, LinearSVC(), cv=StratifiedKFold(2)).fit(x, y)
    assert not hasattr(ensemble, "predict_proba")
    assert ensemble.score(x, y) > 0.4
    ensemble.save(tmp_path)
    with pytest.raises(ValueError, match="pass allow_pickle=True"):
        kdl.ensembles.load(tmp_path)
    loaded = kdl.ensembles.load(tmp_path, allow_pickle=True)
    assert (loaded.predict(x) == ensemble.predict(x)).all()


def test_fold_without_a_class_has_all_outputs():
    """Folds that are not stratified may leave a class to one of them alone."""
    x, y = blobs(count=60)
    order = np.argsort(y, kind="stable")
    ensemble = StackingEnsemble([("a", stump)], cv=KFold(3)).fit(x[order], y[order])
    assert ensemble.transform(x).shape == (60, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cv": "prefit"}, "cv must be a number of folds or a splitter"),
        ({"cv": 1}, "k-fold cross-validation requires at least one train/test split"),
        ({"cv": ShuffleSplit(3, random_state=0)}, "folds that hold each sample once"),
        ({"members": []}, "members must be a list"),
    ],
)
def test_fit_with_bad_arguments_raises(changes, message):
    with pytest.raises(ValueError, match=message):
        StackingEnsemble(**{"members": STUMPS, **changes}).fit(*blobs(count=30))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform"])
def test_predict_before_fit_raises(method):
    with pytest.raises(NotFittedError, match="call fit first"):
        getattr(StackingEnsemble(STUMPS), method)(blobs()[0])


def test_final_estimator_without_sample_weight_raises():
    x, y = blobs(count=30)
    with pytest.raises(ValueError, match=r"KNeighborsClassifier.* takes none"):
        StackingEnsemble(STUMPS, KNeighborsClassifier()).fit(x, y, np.ones(30))
