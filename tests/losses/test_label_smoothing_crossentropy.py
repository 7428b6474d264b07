import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdl.losses import LabelSmoothingCrossentropy, label_smoothing_crossentropy
from kdl.testing import run_loss_test

LOGITS = np.float32([[2, 1, 0, -1]])
RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((3, 4)).astype("float32")
LABELS = np.array([0, 3, 1])
FAR = np.float32([[1e4, -1e4, 0, 88], [-1e4, 1e4, 88, 0], [0, 0, 0, 0]])
CERTAIN = np.float32([[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0]])


def values(*arguments, **options):
    return keras.ops.convert_to_numpy(label_smoothing_crossentropy(*arguments, **options))


def softmax(logits):
    exponentials = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def definition(labels, p, smoothing, spread):
    """The sum over classes, one at a time."""
    losses = []
    for label, row in zip(labels, p, strict=True):
        loss, classes = 0.0, len(row)
        for k, item in enumerate(row):
            if spread == "all":
                q = (1 - smoothing) * (k == label) + smoothing / classes
            else:
                q = 1 - smoothing if k == label else smoothing / (classes - 1)
            loss -= q * np.log(item)
        losses.append(loss)
    return np.array(losses)


@pytest.mark.parametrize(
    ("smoothing", "spread", "expected"),
    [(0, "all", 0.440190), (0.1, "all", 0.590190), (0.1, "others", 0.640190)],
)
def test_worked_numbers(smoothing, spread, expected):
    options = {"label_smoothing": smoothing, "spread": spread}
    for y_true in ([0], [[0]], np.float32([[1, 0, 0, 0]])):
        results = values(y_true, LOGITS, from_logits=True, **options)
        assert results == pytest.approx([expected], abs=6e-7)
        assert values(y_true, softmax(LOGITS), **options) == pytest.approx([expected], abs=6e-7)


def test_loss_is_cross_entropy_plus_divergence_from_uniform():
    """CE(q, p) = (1 − ε) CE(y, p) + ε (KL(u‖p) + ln K), with the worked KL(u‖p) = 0.553895."""
    results = values([0], LOGITS, from_logits=True)
    assert results == pytest.approx([0.9 * 0.440190 + 0.1 * (0.553895 + np.log(4))], abs=1e-6)


@pytest.mark.parametrize(("spread", "gap"), [("others", 3.295837), ("all", 3.610918)])
def test_best_logit_is_finite(spread, gap):
    """At the worked gap the loss is least: the same step up or down makes it larger."""
    steps = np.float32([[gap - 0.1, 0, 0, 0], [gap, 0, 0, 0], [gap + 0.1, 0, 0, 0]])
    low, least, high = values([0, 0, 0], steps, spread=spread, from_logits=True)
    assert least < min(low, high)
    assert low == pytest.approx(high, abs=1e-4)


@pytest.mark.parametrize(
    ("spread", "from_logits"), [("all", True), ("others", True), ("others", False)]
)
def test_loss(spread, from_logits):
    arguments = {"label_smoothing": 0.2, "spread": spread, "from_logits": from_logits}
    edge = FAR if from_logits else CERTAIN
    run_loss_test(
        LabelSmoothingCrossentropy,
        arguments,
        LABELS,
        SCORES if from_logits else softmax(SCORES),
        expected=definition(LABELS, softmax(SCORES), 0.2, spread),
        function=label_smoothing_crossentropy,
        edge_cases=[(LABELS, edge), (np.eye(4)[LABELS], edge)],
    )


@pytest.mark.parametrize("y_true", [LABELS, LABELS[:, None], np.eye(4)[LABELS]])
def test_every_kind_of_label(y_true):
    results = values(y_true, SCORES, 0.3, "others", from_logits=True)
    np.testing.assert_allclose(
        results, definition(LABELS, softmax(SCORES), 0.3, "others"), rtol=1e-5
    )


@pytest.mark.parametrize("spread", ["all", "others"])
@pytest.mark.parametrize("axis", [1, -3])
def test_channels_first(spread, axis):
    """Keras 3.15 reads the number of classes from the last axis of dense labels."""
    scores = RNG.standard_normal((2, 5, 3, 4)).astype("float32")
    labels = RNG.integers(0, 5, (2, 3, 4))
    last = np.moveaxis(scores, 1, -1)
    expected = definition(labels.ravel(), softmax(last).reshape(-1, 5), 0.1, spread)
    options = {"spread": spread, "from_logits": True}
    dense = np.moveaxis(np.eye(5, dtype="float32")[labels], -1, 1)
    for y_true in (labels, labels[:, None], dense):
        results = values(y_true, scores, axis=axis, **options)
        np.testing.assert_allclose(results.ravel(), expected, rtol=1e-5)
    np.testing.assert_allclose(values(labels, last, **options).ravel(), expected, rtol=1e-5)


def test_equals_keras_with_dense_labels():
    y_true = softmax(RNG.standard_normal((3, 4))).astype("float32")
    theirs = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1, reduction="none"
    )
    results = values(y_true, SCORES, from_logits=True)
    np.testing.assert_allclose(results, theirs(y_true, SCORES), rtol=1e-5)


@settings(max_examples=25)
@given(
    arrays("float32", (3, 4), elements=st.floats(-100, 100, width=32)),
    st.permutations(range(4)),
    st.floats(0, 1),
)
def test_permuted_classes_agree_and_targets_minimize(logits, order, smoothing):
    results = values(LABELS, logits, smoothing, from_logits=True)
    assert np.isfinite(results).all()
    moved = np.argsort(order)[LABELS]
    renamed = values(moved, logits[:, order], smoothing, from_logits=True)
    np.testing.assert_allclose(results, renamed, rtol=1e-4, atol=1e-4)
    # No prediction is below the entropy of the smoothed label itself.
    q = (1 - smoothing) * np.eye(4)[0] + smoothing / 4
    assert results.min() >= -np.sum(q * np.log(np.maximum(q, 1e-30))) - 1e-4


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_bad_smoothing(smoothing):
    with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1"):
        LabelSmoothingCrossentropy(smoothing)


def test_bad_spread():
    with pytest.raises(ValueError, match="spread must be one of"):
        LabelSmoothingCrossentropy(spread="most")


def test_one_class():
    with pytest.raises(ValueError, match="at least 2 classes"):
        label_smoothing_crossentropy([0], [[1.0]])


@pytest.mark.parametrize("label", [-1, 4, 0.5])
def test_labels_out_of_range_raise(label):
    with pytest.raises(ValueError, match="y_true must be whole numbers from 0 to 3"):
        label_smoothing_crossentropy([label], LOGITS)


def test_dense_labels_out_of_range_raise():
    with pytest.raises(ValueError, match="Dense y_true must be between 0 and 1"):
        label_smoothing_crossentropy(np.float32([[1.2, -0.2, 0, 0]]), LOGITS)


def test_labels_of_another_shape_raise():
    with pytest.raises(ValueError, match="y_true must be one label"):
        label_smoothing_crossentropy(np.zeros((1, 3)), LOGITS)


def test_masked_classes_add_nothing_unless_smoothing_wants_them():
    logits, label = np.float32([[-np.inf, 0, 1]]), np.array([2])
    results = label_smoothing_crossentropy(label, logits, 0.0, from_logits=True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(results), np.log(1 + np.e) - 1, rtol=1e-5)
    results = label_smoothing_crossentropy(label, logits, 0.1, from_logits=True)
    assert keras.ops.convert_to_numpy(results).tolist() == [np.inf]
