import hypothesis
import numpy as np
import pytest
from hypothesis.extra import numpy as arrays
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier
from stand_ins import blobs

from kdl.ensembles import _boosting
from kdl.ensembles._member_outputs import softmax


def test_samme_gives_worked_numbers():
    """Three classes, six samples; the first member is wrong at 2 and 4, the second at 0."""
    weights = np.full(6, 1 / 6)
    error, first, weights = _boosting.samme_step(weights, np.isin(np.arange(6), [2, 4]), 3)
    assert error == pytest.approx(1 / 3)
    assert first == pytest.approx(1.386294, abs=1e-6)
    assert weights == pytest.approx(np.array([1, 1, 4, 1, 4, 1]) / 12)
    error, second, _ = _boosting.samme_step(weights, np.arange(6) == 0, 3)
    assert error == pytest.approx(0.083333, abs=1e-6)
    assert second == pytest.approx(3.091042, abs=1e-6)
    said = [[0, 1, 2, 0, 2, 2], [1, 1, 0, 0, 1, 2]]
    scores = _boosting.samme_scores(said, [first, second], 3)
    assert scores[0] == pytest.approx([-0.035563, 0.535563, -0.5], abs=1e-6)
    assert scores.argmax(-1).tolist() == [1, 1, 0, 0, 1, 2]
    probabilities = softmax(scores / 2)
    assert probabilities[0] == pytest.approx([0.320176, 0.425997, 0.253827], abs=1e-6)


def test_samme_r_gives_worked_numbers():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2]])
    labels = np.arange(3)
    scores = _boosting.samme_r_scores(probabilities)
    assert scores[0] == pytest.approx([2.132449, -0.373077, -1.759372], abs=1e-6)
    factors = np.exp(-_boosting.samme_r_margin(labels, probabilities))
    assert factors == pytest.approx([0.344306, 0.43679, 1.553616], abs=1e-6)
    error, weights = _boosting.samme_r_step(np.full(3, 1 / 3), labels, probabilities)
    assert error == pytest.approx(1 / 3)
    assert weights == pytest.approx([0.147473, 0.187085, 0.665442], abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("learning_rate", [1.0, 0.5])
def test_samme_equals_scikit_learn(classes, learning_rate):
    x, y = blobs(classes)
    stump = DecisionTreeClassifier(max_depth=1)
    theirs = AdaBoostClassifier(stump, n_estimators=8, learning_rate=learning_rate, random_state=0)
    theirs.fit(x, y)
    labels = np.searchsorted(theirs.classes_, y)
    said = [np.searchsorted(theirs.classes_, tree.predict(x)) for tree in theirs.estimators_]
    weights = np.full(len(x), 1 / len(x))
    for number, each in enumerate(said):
        step = _boosting.samme_step(weights, each != labels, classes, learning_rate)
        assert step[0] == pytest.approx(theirs.estimator_errors_[number])
        assert step[1] == pytest.approx(theirs.estimator_weights_[number])
        weights = step[2]
    scores = _boosting.samme_scores(said, theirs.estimator_weights_[: len(said)], classes)
    decision = scores[:, 1] - scores[:, 0] if classes == 2 else scores
    assert decision == pytest.approx(theirs.decision_function(x))
    assert softmax(scores / (classes - 1)) == pytest.approx(theirs.predict_proba(x))


def test_steps_without_errors_or_at_chance_end_boosting():
    weights = np.full(4, 0.25)
    assert _boosting.samme_step(weights, np.zeros(4, bool), 2) == (0.0, 1.0, None)
    assert _boosting.samme_step(weights, np.arange(4) < 2, 2) == (0.5, None, None)
    assert _boosting.samme_step(weights, np.arange(4) < 2, 3)[1] == pytest.approx(np.log(2))
    perfect = np.eye(2)[[0, 1, 1, 0]]
    assert _boosting.samme_r_step(weights, np.array([0, 1, 1, 0]), perfect) == (0.0, None)


def test_samme_r_of_one_member_gives_its_probabilities():
    """Its probabilities come back, also where one is 0."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [1.0, 0.0, 0.0]])
    scores = _boosting.samme_r_scores(probabilities)
    assert np.isfinite(scores).all()
    assert softmax(scores / 2) == pytest.approx(probabilities, abs=1e-12)


def test_extreme_weights_stay_finite():
    weights = np.array([0.5, 0.5, 0.0])
    _, alpha, new = _boosting.samme_step(weights, np.array([True, False, True]), 3, 1e6)
    assert alpha > 1e5
    assert new.tolist() == [1.0, _boosting.LEAST, 0.0]
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    _, new = _boosting.samme_r_step(np.full(2, 0.5), np.array([0, 1]), sure, 1e6)
    assert np.isfinite(new).all()


@hypothesis.given(
    arrays.arrays("float64", (6,), elements={"min_value": 0.125, "max_value": 8}),
    arrays.arrays("bool", (6,)),
)
@hypothesis.settings(max_examples=25)
def test_samme_step_weights_have_their_properties(raw, wrong):
    """Weights sum to 1, what is wrong gains, and half of the new weight is where it is wrong."""
    weights = raw / raw.sum()
    _, alpha, new = _boosting.samme_step(weights, wrong, 2)
    if new is None:
        return
    assert alpha > 0
    assert new.sum() == pytest.approx(1)
    assert (new[wrong] > weights[wrong]).all()
    assert new[wrong].sum() == pytest.approx(0.5)
    order = [3, 1, 5, 0, 2, 4]
    assert _boosting.samme_step(weights[order], wrong[order], 2)[2] == pytest.approx(new[order])
