from functools import partial

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from stand_ins import blobs, linear_mlp, mlp, plain_mlp, regression_stump, stump

from kdl.deploy import export_tflite
from kdl.ensembles import (
    AdaBoostEnsemble,
    BaggingEnsemble,
    DeepEnsemble,
    GradientBoostedEnsemble,
    StackingEnsemble,
    VotingEnsemble,
    _final,
    _graph,
    _votes,
)

pytestmark = pytest.mark.usefixtures("no_dry_run")

NAMED = [("a", mlp), ("b", partial(mlp, units=3))]
ENSEMBLES = {
    "bagging": BaggingEnsemble(mlp, 2),
    "bagging of one": BaggingEnsemble(mlp, 1),
    "bagging by vote": BaggingEnsemble(stump, 3, voting="hard"),
    "deep, of logits": DeepEnsemble(linear_mlp, 2, from_logits=True),
    "voting": VotingEnsemble(NAMED, weights=[1, 3]),
    "voting by vote": VotingEnsemble(NAMED, "hard", weights=[1, 3]),
    "SAMME": AdaBoostEnsemble(stump, 3),
    "SAMME.R": AdaBoostEnsemble(mlp, 3, algorithm="SAMME.R", learning_rate=0.1),
    "gradient boosting": GradientBoostedEnsemble(regression_stump, 3),
    "stacking": StackingEnsemble(NAMED[:1], cv=2),
    "stacking with x": StackingEnsemble(NAMED, cv=2, passthrough=True),
}


# Where two classes are another case than three.
PAIRS = [(name, 3) for name in ENSEMBLES]
PAIRS += [(name, 2) for name in ("SAMME", "SAMME.R", "gradient boosting", "stacking with x")]


@pytest.mark.long_to_compile
@pytest.mark.every_backend
@pytest.mark.parametrize(("name", "classes"), PAIRS)
def test_to_keras_outputs_match_the_ensemble(name, classes, tmp_path):
    x, y = blobs(classes)
    ensemble = ENSEMBLES[name].fit(x, y)
    model = ensemble.to_keras()
    outputs = keras.ops.convert_to_numpy(model(x))
    assert outputs == pytest.approx(ensemble.predict_proba(x), abs=1e-5)
    assert model.output_shape == (None, classes)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (keras.ops.convert_to_numpy(loaded(x)) == outputs).all()


@pytest.mark.parametrize(
    "make", [BaggingEnsemble, GradientBoostedEnsemble], ids=["bagging", "gradient boosting"]
)
@pytest.mark.parametrize("columns", [np.s_[:, 0], np.s_[:, :1], np.s_[:, :2]])
def test_to_keras_of_regression_has_shape_of_targets(make, columns):
    x, _ = blobs()
    y = x[columns]
    ensemble = make(linear_mlp, 2, task="regression").fit(x, y)
    model = ensemble.to_keras()
    outputs = keras.ops.convert_to_numpy(model(x))
    assert outputs.shape == ensemble.predict(x).shape == y.shape
    assert model.output_shape == (None, *y.shape[1:])
    assert outputs == pytest.approx(ensemble.predict(x), abs=1e-4)


def test_to_keras_model_is_a_copy():
    x, y = blobs()
    ensemble = BaggingEnsemble(mlp, 2).fit(x, y)
    before = ensemble.predict_proba(x)
    model = ensemble.to_keras()
    model.set_weights([0 * weights for weights in model.get_weights()])
    assert (ensemble.predict_proba(x) == before).all()


def test_to_keras_of_members_of_one_name():
    x, y = blobs()
    x = x.reshape(90, 2, 2, 1)

    def build(input_shape, outputs):
        inputs = keras.Input(input_shape)
        features = keras.layers.Dense(4, name="a")(keras.layers.Flatten()(inputs))
        outputs = keras.layers.Dense(outputs, "softmax", name="b")(features)
        model = keras.Model(inputs, outputs, name="copy")
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    ensemble = DeepEnsemble(build, 2).fit(x, y)
    outputs = keras.ops.convert_to_numpy(ensemble.to_keras()(x))
    assert outputs == pytest.approx(ensemble.predict_proba(x), abs=1e-5)


def test_to_keras_of_other_final_estimator_raises():
    ensemble = StackingEnsemble(NAMED, LinearSVC(), cv=2).fit(*blobs())
    with pytest.raises(ValueError, match="to_keras knows LogisticRegression"):
        ensemble.to_keras()


def test_votes_of_equal_outputs_go_to_the_first():
    """The first of the classes with as many votes, and of equal probabilities, as in predict."""
    outputs = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [1, 0, 0], [0, 0.5, 0.5]], "float32")
    [votes] = _graph.votes([keras.ops.convert_to_tensor(outputs)], 3)
    assert keras.ops.convert_to_numpy(votes).argmax(-1).tolist() == [0, 1, 0, 1]
    assert (keras.ops.convert_to_numpy(votes) == _votes.vote(outputs[None])).all()


def test_samme_r_of_certain_members_is_finite():
    """In float16 each gives the others' class the probability 0, whose logarithm is infinite."""

    def sure(number):
        inputs = keras.Input((1,), dtype="float16")
        layer = keras.layers.Dense(3, "softmax", dtype="float16")
        model = keras.Model(inputs, layer(inputs))
        layer.set_weights([np.zeros((1, 3)), 50.0 * np.eye(3)[number]])
        return model

    ensemble = AdaBoostEnsemble(None, algorithm="SAMME.R")
    ensemble.members_, ensemble.input_shape_ = [sure(0), sure(1)], (1,)
    ensemble.classes_, ensemble.member_weights_ = np.arange(3), np.ones(2)
    x = np.zeros((2, 1), "float32")
    outputs = keras.ops.convert_to_numpy(ensemble.to_keras()(x))
    assert outputs == pytest.approx(ensemble.predict_proba(x), abs=1e-4)


@pytest.mark.export
@pytest.mark.parametrize(
    ("ensemble", "state"),
    [
        (DeepEnsemble(None), {}),
        (AdaBoostEnsemble(None), {"member_weights": [1.0, 2.0], "member_errors": [0.3, 0.2]}),
        (
            AdaBoostEnsemble(None, algorithm="SAMME.R"),
            {"member_weights": [1.0, 1.0], "member_errors": [0.3, 0.2]},
        ),
        (GradientBoostedEnsemble(None), {"first_scores": [0.1, 0.2, 0.3], "steps": [2.0, 1.0]}),
        (StackingEnsemble(None, passthrough=True), {"final_estimator": None}),
    ],
    ids=["mean", "votes", "SAMME.R", "sum", "stacking"],
)
def test_exported_file_matches_the_ensemble(ensemble, state, tmp_path):
    """As if it had been trained, which would take longest."""
    x, y = blobs(count=30)
    if "final_estimator" in state:
        final = LogisticRegression().fit(np.hstack([x, x, x[:, :2]]), np.arange(30) % 3)
        state = {"final_estimator": _final.as_state(final)}
    ensemble.members_ = [plain_mlp((4,), 3) for _ in range(2)]
    ensemble.input_shape_, ensemble.classes_ = (4,), np.unique(y)
    ensemble._set_state(state, allow_pickle=False)
    model = ensemble.to_keras()
    assert export_tflite(model, tmp_path / "model.tflite", verification_data=x).passed
    outputs = keras.ops.convert_to_numpy(model(x))
    assert outputs == pytest.approx(ensemble.predict_proba(x), abs=1e-5)


@pytest.mark.parametrize(
    ("form", "solver", "one"),
    [
        ("auto", "lbfgs", True),
        ("auto", "liblinear", False),
        ("deprecated", "liblinear", False),
        ("ovr", "lbfgs", False),
        ("multinomial", "lbfgs", True),
    ],
)
def test_to_keras_of_one_versus_rest_raises(form, solver, one):
    """As scikit-learn 1.4 to 1.7 name them."""
    estimator = LogisticRegression(solver=solver)
    estimator.multi_class, estimator.coef_ = form, np.ones((3, 2))
    assert _final._has_one_softmax(estimator) == one
    estimator.coef_ = np.ones((1, 2))
    assert _final._has_one_softmax(estimator)
