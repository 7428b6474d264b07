import hypothesis
import numpy as np
import pytest
from hypothesis.extra import numpy as arrays
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from stand_ins import blobs

from kdl.ensembles import _votes

# Three members' probabilities for one input.
MEMBERS = np.array([[[0.6, 0.4]], [[0.1, 0.9]], [[0.6, 0.4]]])


def test_mean_vote_and_uncertainty_give_worked_numbers():
    """The mean picks the second class, the vote the first."""
    assert _votes.mean(MEMBERS)[0] == pytest.approx([0.433333, 0.566667], abs=1e-6)
    assert _votes.vote(MEMBERS)[0] == pytest.approx([2 / 3, 1 / 3])
    results = _votes.uncertainty(MEMBERS)
    assert results["predictive_entropy"] == pytest.approx([0.684232], abs=1e-6)
    assert results["mean_entropy"] == pytest.approx([0.557035], abs=1e-6)
    # The last digit of the difference of rounded numbers is off by one.
    assert results["mutual_information"] == pytest.approx([0.127196], abs=1.5e-6)


def test_vote_with_ties_goes_to_first_class():
    tie = np.array([[[0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]], [[0.4, 0.4, 0.2]], [[0.0, 1.0, 0.0]]])
    assert _votes.vote(tie)[0].tolist() == [0.25, 0.5, 0.25]
    assert _votes.vote(tie[:2])[0].argmax() == 1
    assert _votes.vote(tie, [3.0, 1.0, 0.0, 2.0])[0].argmax() == 1


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0], [2.0, 1.0, 1.0]])
@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_vote_equals_scikit_learn(voting, weights):
    x, y = blobs(count=60)
    kinds = [DecisionTreeClassifier(max_depth=1), DecisionTreeClassifier(), LogisticRegression()]
    named = [(str(number), kind) for number, kind in enumerate(kinds)]
    theirs = VotingClassifier(named, voting=voting, weights=weights).fit(x, y)
    outputs = np.stack([tree.predict_proba(x) for tree in theirs.estimators_])
    combine = _votes.vote if voting == "hard" else _votes.mean
    shares = combine(outputs, weights)
    assert (theirs.classes_[shares.argmax(-1)] == theirs.predict(x)).all()
    if voting == "soft":
        assert shares == pytest.approx(theirs.predict_proba(x))


@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
@pytest.mark.parametrize("count", [2, 20])
def test_out_of_bag_equals_scikit_learn(count):
    """With two members some samples are in both bags: NaN in both libraries."""
    x, y = blobs(count=60)
    tree = DecisionTreeClassifier(max_depth=2)
    theirs = BaggingClassifier(tree, count, oob_score=True, random_state=0).fit(x, y)
    rows = [np.setdiff1d(np.arange(60), samples) for samples in theirs.estimators_samples_]
    outputs = [
        each.predict_proba(x[outside])
        for each, outside in zip(theirs.estimators_, rows, strict=True)
    ]
    if count == 2:
        with pytest.warns(UserWarning, match="samples are in the training set of every member"):
            results = _votes.out_of_bag(outputs, rows, 60)
        assert np.isnan(results).any()
    else:
        results = _votes.out_of_bag(outputs, rows, 60)
    assert results == pytest.approx(theirs.oob_decision_function_, nan_ok=True)


@hypothesis.given(
    arrays.arrays("float64", (4, 3, 5), elements={"min_value": 0, "max_value": 1}),
    arrays.arrays("float64", (4,), elements={"min_value": 0.125, "max_value": 8}),
)
@hypothesis.settings(max_examples=25)
def test_mean_and_vote_have_their_properties(raw, weights):
    probabilities = (raw + 1e-9) / (raw + 1e-9).sum(-1, keepdims=True)
    order = [2, 0, 3, 1]
    for combine in (_votes.mean, _votes.vote):
        results = combine(probabilities, weights)
        assert results.sum(-1) == pytest.approx(np.ones(3))
        assert results == pytest.approx(combine(probabilities[order], weights[order]))
        assert results == pytest.approx(combine(probabilities, weights * 3))
    doubt = _votes.uncertainty(probabilities, weights)
    assert (doubt["mutual_information"] >= 0).all()
    assert (doubt["predictive_entropy"] <= np.log(5) + 1e-9).all()
    same = _votes.uncertainty(probabilities[[0, 0, 0, 0]], weights)
    assert same["mutual_information"] == pytest.approx(np.zeros(3), abs=1e-12)
    # A certain output has no entropy, though its logarithm is infinite.
    assert _votes.entropy(np.eye(3)).tolist() == [0, 0, 0]
