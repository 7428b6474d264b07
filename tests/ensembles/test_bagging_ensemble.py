import keras
import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.ensemble import BaggingClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier
from stand_ins import blobs, linear_mlp, mlp, plain_mlp, regression_stump, stump

import kdl
from kdl.ensembles import BaggingEnsemble, _member_training

pytestmark = pytest.mark.usefixtures("no_dry_run")


def test_bootstrap_leaves_out_expected_share():
    """(1 − 1/n)ⁿ of the samples are in no draw: .366032 for n = 100."""
    ensemble = BaggingEnsemble(stump, 200)
    data = ensemble._read_data(np.zeros((100, 1)), np.arange(100) % 2, None)
    ensemble.seed_ = 0
    outside = [100 - len(np.unique(samples)) for samples in ensemble._draw(data)]
    assert np.mean(outside) / 100 == pytest.approx(0.366032, abs=0.01)


def test_bagging_of_stumps_equals_scikit_learn(monkeypatch):
    """The same draws, the same stumps: probabilities, votes, labels and what is out of the bag."""
    x, y = blobs()
    tree = DecisionTreeClassifier(max_depth=1, random_state=0)
    theirs = BaggingClassifier(tree, 12, oob_score=True, random_state=0).fit(x, y)
    monkeypatch.setattr(BaggingEnsemble, "_draw", lambda self, data: theirs.estimators_samples_)
    ours = BaggingEnsemble(stump, 12, oob_score=True).fit(x, y)
    assert ours.predict_proba(x) == pytest.approx(theirs.predict_proba(x), abs=1e-6)
    assert (ours.predict(x) == theirs.predict(x)).all()
    expected = theirs.oob_decision_function_
    assert ours.oob_decision_function_ == pytest.approx(expected, abs=1e-6)
    assert ours.oob_score_ == theirs.oob_score_
    assert ours.score(x, y) == theirs.score(x, y)


def test_out_of_bag_hard_votes_are_counted():
    x, y = blobs()
    ensemble = BaggingEnsemble(stump, 12, oob_score=True, voting="hard").fit(x, y)
    data = ensemble._read_data(x, y, None)
    votes = np.zeros((len(x), 3))
    for model, samples in zip(ensemble.members_, ensemble._draw(data), strict=True):
        outputs = model.predict(x, verbose=0).argmax(-1)
        for row in set(range(len(x))) - set(samples.tolist()):
            votes[row, outputs[row]] += 1
    expected = votes / votes.sum(-1, keepdims=True)
    assert ensemble.oob_decision_function_ == pytest.approx(expected)
    members = ensemble.predict_members(x).argmax(-1)
    shares = np.stack([(members == each).mean(0) for each in range(3)], -1)
    assert ensemble.predict_proba(x) == pytest.approx(shares)


def test_bag_without_a_class_has_all_outputs():
    """A member that never saw a class has its output all the same, in the right place."""
    x = np.arange(12, dtype="float32")[:, None]
    y = np.array(["a"] * 6 + ["c"] * 5 + ["b"])
    ensemble = BaggingEnsemble(stump, 8, max_samples=0.5).fit(x, y)
    bags = ensemble._draw(ensemble._read_data(x, y, None))
    lacking = [number for number, bag in enumerate(bags) if "b" not in y[bag]]
    assert lacking
    outputs = ensemble.predict_members(x)
    assert (outputs[lacking][:, :, 1] == 0).all()
    assert ensemble.predict(x[:1]) == ["a"]


@pytest.mark.parametrize(
    "labels",
    [["no", "yes", "so"], [-7, 3, 400], [2.0, 3.0, 5.0]],
    ids=["words", "numbers", "float"],
)
def test_labels_of_any_kind_are_predicted_in_their_dtype(labels, tmp_path):
    x, y = blobs()
    y = np.array(labels)[np.unique(y, return_inverse=True)[1]]
    ensemble = BaggingEnsemble(stump, 3).fit(x, y)
    assert ensemble.classes_.tolist() == sorted(labels)
    assert ensemble.predict(x).dtype == y.dtype
    assert ensemble.score(x, y) == accuracy_score(y, ensemble.predict(x)) > 0.5
    ensemble.save(tmp_path / "ensemble")
    loaded = kdl.ensembles.load(tmp_path / "ensemble")
    assert loaded.classes_.dtype == y.dtype
    assert (loaded.predict(x) == ensemble.predict(x)).all()


def test_boolean_and_object_labels_are_predicted():
    x, y = blobs(classes=2)
    for labels in (y == "kale", y.astype(object)):
        assert set(BaggingEnsemble(stump, 2).fit(x, labels).predict(x)) == set(labels)


@pytest.mark.every_backend
def test_seed_of_members_determines_their_weights():
    """Members differ from each other, and are the same to the bit in a second ensemble."""
    x, y = kdl.data.digits(size=8, channels=1)[0]
    x, y = x[:64], y[:64]
    before = np.random.get_state()[1].tolist()
    first = BaggingEnsemble(plain_mlp, 2, {"epochs": 1}, seed=4).fit(x, y)
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(99)
    again = BaggingEnsemble(plain_mlp, 1, {"epochs": 1}, seed=4).fit(x, y)
    outputs = first.predict_members(x)
    assert (outputs[0] == again.predict_members(x)[0]).all()
    assert abs(outputs[0] - outputs[1]).max() > 1e-3
    other = BaggingEnsemble(mlp, 1, seed=5).fit(x, y).predict_members(x)[0]
    assert abs(other - BaggingEnsemble(mlp, 1, seed=4).fit(x, y).predict_members(x)[0]).max() > 1e-3
    assert first.seed_ == 4
    drawn = [BaggingEnsemble(stump, 1, seed=None).fit(x[:, 0, :, 0], y).seed_ for _ in range(2)]
    assert drawn[0] != drawn[1]


def test_sample_weight_gives_shares_of_draws():
    x, y = blobs()
    weights = np.where(np.arange(len(x)) < 30, 1.0, 0.0)
    ensemble = BaggingEnsemble(stump, 4)
    ensemble.fit(x, y, weights)
    for bag in ensemble._draw(ensemble._read_data(x, y, weights)):
        assert len(bag) == len(x)
        assert bag.max() < 30
    with pytest.raises(ValueError, match="asks for 45 different samples, but there are 30"):
        BaggingEnsemble(stump, bootstrap=False, max_samples=0.5).fit(x, y, weights)


def test_bootstrap_false_draws_without_replacement():
    x, y = blobs()
    ensemble = BaggingEnsemble(stump, 6, max_samples=30, bootstrap=False, oob_score=True)
    for bag in ensemble.fit(x, y)._draw(ensemble._read_data(x, y, None)):
        assert len(np.unique(bag)) == 30


@pytest.mark.parametrize("draws", [90, 89])
def test_oob_score_without_samples_raises_before_training(draws, monkeypatch):
    """R² needs two samples."""
    monkeypatch.setattr(_member_training, "train", None)
    x, y = blobs()
    settings = {"max_samples": draws, "bootstrap": False, "oob_score": True}
    with pytest.raises(ValueError, match=f"oob_score=True needs samples .* there are {90 - draws}"):
        BaggingEnsemble(regression_stump, 1, task="regression", **settings).fit(x, x[:, 0])
    if draws == 90:
        with pytest.raises(ValueError, match="oob_score=True needs samples"):
            BaggingEnsemble(stump, 1, **settings).fit(x, y)


@pytest.mark.parametrize("rows", [(), (1,), (2,)])
def test_regression_predicts_shape_of_targets(rows):
    """One number a sample, one in a row, or two."""
    x, _ = blobs()
    y = x @ np.ones((4, *rows))
    build = linear_mlp if rows == (2,) else regression_stump
    fit_arguments = {"epochs": 20} if rows == (2,) else None
    shape = {"n_members": 10, "max_samples": 0.4, "bootstrap": False}
    ensemble = BaggingEnsemble(build, **shape, fit_arguments=fit_arguments, task="regression")
    ensemble.set_params(oob_score=True).fit(x, y)
    assert ensemble.predict(x).shape == y.shape
    mean = ensemble.predict_members(x).mean(0).reshape(y.shape)
    assert ensemble.predict(x) == pytest.approx(mean)
    assert ensemble.score(x, y) > 0.3
    assert ensemble.oob_prediction_.shape == y.shape
    assert is_regressor(ensemble)
    assert not hasattr(ensemble, "predict_proba")
    assert not hasattr(ensemble, "uncertainty")


def test_clone_has_parameters_and_is_not_fitted():
    arguments = {"epochs": 3, "callbacks": [keras.callbacks.EarlyStopping("loss")]}
    ensemble = BaggingEnsemble(mlp, 3, arguments, voting="hard", seed=7)
    copy = clone(ensemble)
    assert copy.get_params()["fit_arguments"]["epochs"] == 3
    assert copy.get_params()["voting"] == "hard"
    assert copy.build is mlp
    assert copy.set_params(n_members=1, seed=8).n_members == 1
    assert is_classifier(copy)
    x, y = blobs(count=30)
    assert not hasattr(clone(copy.fit(x, y)), "members_")


def test_compiled_model_as_build_gives_new_weights():
    """Each member has new weights, and its compilation survives `clone`."""
    x, y = blobs()
    model = mlp((4,), 3)
    model.fit(x[:8], np.zeros(8, int))
    weights = model.get_weights()
    ensemble = clone(BaggingEnsemble(model, 2, {"epochs": 8, "batch_size": 16}))
    ensemble.fit(x, y)
    assert ensemble.score(x, y) > 0.6
    first, second = (member.get_weights()[0] for member in ensemble.members_)
    assert abs(first - second).max() > 0.1
    assert all((a == b).all() for a, b in zip(weights, model.get_weights(), strict=True))


def test_cross_val_score_of_ensemble_runs():
    x, y = blobs(count=60)
    scores = cross_val_score(BaggingEnsemble(stump, 3), x.reshape(60, 4), y, cv=2)
    assert scores.min() > 0.4


def test_from_logits_applies_softmax_and_linear_outputs_raise():
    x, y = blobs()

    ensemble = BaggingEnsemble(linear_mlp, 1, from_logits=True).fit(x, y)
    raw = ensemble.members_[0].predict(x, verbose=0).astype("float64")
    expected = np.exp(raw) / np.exp(raw).sum(-1, keepdims=True)
    assert ensemble.predict_proba(x) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="pass from_logits=True"):
        BaggingEnsemble(linear_mlp, 1).fit(x, y).predict(x)


def test_validation_data_labels_are_encoded():
    x, y = blobs()
    arguments = {"validation_data": (x, y), "callbacks": [keras.callbacks.EarlyStopping()]}
    BaggingEnsemble(plain_mlp, 1, arguments).fit(x, y)
    with pytest.raises(ValueError, match="labels that y does not have"):
        BaggingEnsemble(plain_mlp, 1, arguments).fit(x[y != "leek"], y[y != "leek"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_members": 0}, "n_members must be a positive integer; received 0"),
        ({"max_samples": 1.5}, "max_samples must be a share"),
        ({"max_samples": True}, "max_samples must be a number"),
        ({"voting": "loud"}, "voting must be one of 'soft', 'hard'; received 'loud'"),
        ({"task": "ranking"}, "task must be one of"),
        ({"task": "regression", "voting": "hard"}, "are for task='classification'"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"fit_arguments": {"sample_weight": 1}}, "fit_arguments may not hold sample_weight"),
        ({"fit_arguments": [1]}, "fit_arguments must be a dict or None"),
        ({"build": 3}, "build must be a function"),
    ],
)
def test_fit_with_bad_arguments_raises(changes, message):
    x, y = blobs(count=30)
    with pytest.raises(ValueError, match=message):
        BaggingEnsemble(**{"build": stump, **changes}).fit(x, y)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros(30)}, r"x must have the shape \(samples, …\)"),
        ({"x": np.full((30, 4), np.nan)}, "x must hold finite numbers"),
        ({"x": np.full((30, 4), "a")}, "x must be an array of numbers"),
        ({"x": np.zeros((29, 4))}, "x has 29 samples, y has 30"),
        ({"y": np.eye(30)}, "pass y.argmax"),
        ({"y": np.zeros(30)}, "y must have two classes or more"),
        ({"y": np.linspace(0, 1, 30)}, "Unknown label type"),
        ({"sample_weight": -np.ones(30)}, "sample_weight must be 30 finite numbers"),
        ({"sample_weight": {0: 1.0}}, "sample_weight must be 30 numbers, one a sample"),
        ({"sample_weight": np.zeros(30)}, "sample_weight must have a positive sum"),
        ({"executor": 0}, "executor must be None"),
    ],
)
def test_fit_with_bad_data_raises(changes, message):
    x, y = blobs(count=30)
    with pytest.raises(ValueError, match=message):
        BaggingEnsemble(stump, 1).fit(**{"x": x, "y": y, **changes})


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 30

    def __getitem__(self, number):
        return np.zeros((1, 4))


@pytest.mark.parametrize(
    "x",
    [Batches(), iter([np.zeros((30, 4))]), {"image": np.zeros((30, 4))}, [[1, 2], [3]], None],
    ids=["dataset", "generator", "dict", "ragged", "nothing"],
)
def test_fit_with_no_array_raises(x):
    _, y = blobs(count=30)
    with pytest.raises(ValueError, match=r"x must be one array .* read them into an array first"):
        BaggingEnsemble(stump, 1).fit(x, y)


def test_class_weight_by_labels_raises():
    x, y = blobs(count=30)
    BaggingEnsemble(plain_mlp, 1, {"class_weight": {0: 1.0, 2: 3.0}}).fit(x, y)
    for weights in ({"kale": 2.0}, {1: 1.0, 2: 2.0, 3: 1.0}):
        with pytest.raises(ValueError, match=r"by the numbers of the classes .*0 to 2; it has"):
            BaggingEnsemble(plain_mlp, 1, {"class_weight": weights}).fit(x, y)


def test_predict_before_fit_or_of_other_shape_raises():
    x, y = blobs(count=30)
    ensemble = BaggingEnsemble(stump, 1)
    with pytest.raises(ValueError, match="not fitted; call fit first"):
        ensemble.predict(x)
    with pytest.raises(ValueError, match=r"\(samples, 4\) that fit saw; received \(30, 3\)"):
        ensemble.fit(x, y).predict(x[:, :3])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda shape, outputs: None, "must return a compiled keras.Model; it returned None"),
        (lambda shape, outputs: keras.Sequential(), "must return a compiled model"),
        (lambda shape, outputs: mlp(shape, 5), r"outputs of shape \(batch, 3\)"),
        (lambda shape, outputs: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_error_of_build_names_the_member(build, message):
    x, y = blobs(count=30)
    with pytest.raises(
        RuntimeError, match=f"training of member 0 of BaggingEnsemble failed.*{message}"
    ):
        BaggingEnsemble(build, 2).fit(x, y)


@pytest.mark.parametrize("missing", [None, 1.5, float("nan")])
def test_missing_or_mixed_labels_raise_their_kinds(missing):
    x, y = blobs()
    labels = y.astype(str).astype(object)
    labels[3] = missing
    with pytest.raises(ValueError, match=r"labels of one kind.*it has (NoneType|float), str"):
        BaggingEnsemble(mlp, 2).fit(x, labels)


def test_second_fit_without_oob_score_removes_it(tmp_path):
    x, y = blobs()
    ensemble = BaggingEnsemble(stump, 9, oob_score=True).fit(x, y)
    assert ensemble.oob_score_ > 0
    ensemble.set_params(oob_score=False).fit(x[:20], y[:20])
    assert not hasattr(ensemble, "oob_score_")
    assert not hasattr(ensemble, "oob_decision_function_")
