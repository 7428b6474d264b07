import keras
import numpy as np
import pytest
from sklearn.base import clone, is_regressor
from sklearn.ensemble import GradientBoostingRegressor
from stand_ins import blobs, linear_mlp, regression_stump

import kdl
from kdl.ensembles import GradientBoostedEnsemble
from kdl.ensembles._member_outputs import softmax

pytestmark = pytest.mark.usefixtures("no_dry_run")


@pytest.mark.parametrize("line_search", [False, True])
def test_regression_equals_scikit_learn(line_search):
    """A stump's leaves are means: the best step is 1, and both ensembles are the same."""
    x, _ = blobs()
    y = x.sum(-1)
    weights = np.random.default_rng(0).integers(1, 5, len(x))
    settings = {"max_depth": 1, "random_state": 0}
    theirs = GradientBoostingRegressor(n_estimators=6, learning_rate=0.5, **settings)
    theirs.fit(x, y, weights)
    ours = GradientBoostedEnsemble(
        regression_stump, 6, learning_rate=0.5, line_search=line_search, task="regression"
    )
    ours = clone(ours).fit(x, y, weights)
    assert ours.predict(x) == pytest.approx(theirs.predict(x), abs=1e-4)
    assert ours.steps_ == pytest.approx(np.full(6, 0.5), abs=1e-5)
    assert ours.score(x, y) == pytest.approx(theirs.score(x, y), abs=1e-4)
    assert is_regressor(ours)
    assert not hasattr(ours, "predict_proba")


@pytest.mark.every_backend
def test_classification_follows_its_definition():
    """The definition, member after member, and a loss that falls with each."""
    x, y = blobs()
    ensemble = GradientBoostedEnsemble(regression_stump, 5, learning_rate=0.5).fit(x, y)
    labels = np.searchsorted(ensemble.classes_, y)
    scores = np.tile(np.log(np.bincount(labels) / 90), (90, 1))
    losses = []
    for member, step, stage in zip(
        ensemble.members_, ensemble.steps_, ensemble.staged_predict_proba(x), strict=True
    ):
        left = np.eye(3)[labels] - softmax(scores)
        fitted = regression_stump((4,), 3)
        fitted.fit(x, left)
        outputs = member.predict(x)
        assert outputs == pytest.approx(fitted.predict(x), abs=1e-6)
        assert step > 0
        scores = scores + step * outputs
        assert stage == pytest.approx(softmax(scores))
        losses.append(-np.log(softmax(scores)[np.arange(90), labels]).mean())
    assert (np.diff([np.log(3), *losses]) < 0).all()
    assert ensemble.predict_proba(x) == pytest.approx(softmax(scores))
    assert ensemble.decision_function(x) == pytest.approx(scores)
    assert ensemble.score(x, y) > 0.6


def test_two_classes_have_one_decision_value():
    x, y = blobs(classes=2)
    ensemble = GradientBoostedEnsemble(linear_mlp, 3, subsample=0.5).fit(x, y)
    decision = ensemble.decision_function(x)
    assert decision.shape == (90,)
    assert (ensemble.predict(x) == ensemble.classes_[(decision > 0).astype(int)]).all()
    other = GradientBoostedEnsemble(linear_mlp, 3, subsample=0.5, seed=1).fit(x, y)
    assert abs(other.decision_function(x) - decision).max() > 1e-3


def test_directory_of_finished_fit_is_read(tmp_path):
    x, y = blobs()
    ensemble = GradientBoostedEnsemble(regression_stump, 3).fit(x, y, directory=tmp_path)
    again = GradientBoostedEnsemble(regression_stump, 3).fit(x, y, directory=tmp_path)
    for other in (again, kdl.ensembles.load(tmp_path)):
        assert (other.predict_proba(x) == ensemble.predict_proba(x)).all()
        assert (other.steps_ == ensemble.steps_).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1}, "learning_rate must be a positive number"),
        ({"subsample": 1.5}, r"subsample must be a share up to 1\.0; received 1\.5"),
        ({"fit_arguments": {"validation_data": ()}}, "may not hold validation_data here"),
        ({"task": "ranking"}, "task must be one of"),
    ],
)
def test_fit_with_bad_arguments_raises(changes, message):
    with pytest.raises(ValueError, match=message):
        GradientBoostedEnsemble(regression_stump, **changes).fit(*blobs(count=30))


def test_class_with_zero_weight_raises():
    x, y = blobs()
    with pytest.raises(ValueError, match=r"sample_weight is 0 for all samples of \['leek'\]"):
        GradientBoostedEnsemble(regression_stump).fit(x, y, y != "leek")


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.categorical_crossentropy,
        "binary_crossentropy",
    ],
)
def test_members_with_crossentropy_raise(loss):
    def build(input_shape, outputs):
        model = linear_mlp(input_shape, outputs)
        model.compile("sgd", loss)
        return model

    x, y = blobs()
    with pytest.raises(RuntimeError, match="crossentropy, but it is trained on rows of numbers"):
        GradientBoostedEnsemble(build, 1).fit(x, y)
