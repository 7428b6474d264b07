import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdl.losses import FocalLoss, focal_loss
from kdl.testing import _checks, _gradients, run_loss_test

# Logits, labels and losses of RetinaNet's form that were computed by hand: α = 0.25, γ = 2.
LOGITS = np.float32([[2, -1, 0], [-4, 0.5, -2]])
ONE_HOT = np.float32([[1, 0, 0], [0, 0, 0]])
BY_CLASS = np.array([[0.000451, 0.016994, 0.129965], [0.000004, 0.283059, 0.001353]])
SUM = 0.4318253


def values(*arguments, **options):
    return keras.ops.convert_to_numpy(focal_loss(*arguments, **options))


def definition(y_true, p, alpha=0.25, gamma=2.0):
    """The sigmoid form, one number at a time."""
    losses = np.zeros(p.shape)
    weights = np.broadcast_to(0.5 if alpha is None else alpha, p.shape[-1:])
    for place in np.ndindex(p.shape):
        y, item, weight = float(y_true[place]), float(p[place]), weights[place[-1]]
        p_t = y * item + (1 - y) * (1 - item)
        entropy = -y * np.log(item) - (1 - y) * np.log(1 - item)
        losses[place] = (y * weight + (1 - y) * (1 - weight)) * (1 - p_t) ** gamma * entropy
    return losses.sum(-1) * (2 if alpha is None else 1)


def softmax_definition(labels, logits, alpha, gamma):
    losses = []
    for label, row in zip(labels, logits.astype("float64"), strict=True):
        p = np.exp(row[label]) / np.exp(row).sum()
        losses.append(-np.broadcast_to(alpha, row.shape)[label] * (1 - p) ** gamma * np.log(p))
    return np.array(losses)


# --- worked numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "y", "expected"),
    [
        (0.9, 1, 2.634013e-4),
        (0.5, 1, 0.0433217),
        (0.1, 1, 0.4662735),
        (0.1, 0, 7.902039e-4),
        (0.9, 0, 1.3988204),
        (0.01, 0, 7.537752e-7),
    ],
)
def test_worked_numbers(p, y, expected):
    assert values([[float(y)]], [[p]]) == pytest.approx([expected], rel=2e-6)
    logit = np.log(p / (1 - p))
    assert values([[float(y)]], [[logit]], from_logits=True) == pytest.approx([expected], rel=5e-6)


def test_anchor_loss_is_the_sum_over_classes():
    losses = values(ONE_HOT, LOGITS, from_logits=True)
    np.testing.assert_allclose(losses, BY_CLASS.sum(-1), atol=2e-6)
    total = FocalLoss(from_logits=True, reduction="sum")(ONE_HOT, LOGITS)
    assert float(total) == pytest.approx(SUM, rel=1e-6)


@pytest.mark.parametrize(
    ("label", "alpha", "expected"),
    [(0, 1.0, 0.0456778), (0, 0.25, 0.0114194), (2, 1.0, 1.9936045), (2, None, 1.9936045)],
)
def test_worked_numbers_of_the_softmax_form(label, alpha, expected):
    options = {"alpha": alpha, "activation": "softmax", "from_logits": True}
    for y_true in ([label], np.eye(3, dtype="float32")[[label]]):
        assert values(y_true, [[2.0, 1.0, 0.0]], **options) == pytest.approx([expected], rel=5e-6)


# --- every contract of a loss --------------------------------------------------------------------

RNG = np.random.default_rng(0)
PREDICTIONS = RNG.standard_normal((2, 5, 4)).astype("float32")
LABELS = np.array([[0, -1, 3, -2, 1], [-1, -1, 2, 2, -2]])
FAR = np.float32([[[1e4, -1e4, 0, 88]] * 5, [[-1e4, 1e4, -88, 20]] * 5])
CERTAIN = np.float32([[[1, 0, 0.5, 1]] * 5, [[0, 1, 1, 0]] * 5])


@pytest.mark.parametrize(
    ("gamma", "from_logits"), [(0, True), (0.5, True), (2, True), (2, False), (2.5, False)]
)
def test_loss_sigmoid(gamma, from_logits):
    arguments = {"gamma": gamma, "from_logits": from_logits, "alpha": [0.25, 0.5, 0.9, 0.1]}
    p = 1 / (1 + np.exp(-PREDICTIONS))
    targets = (LABELS[..., None] == np.arange(4)).astype("float32")
    expected = definition(targets, p, arguments["alpha"], gamma) * (LABELS != -2)
    run_loss_test(
        FocalLoss,
        arguments,
        LABELS,
        PREDICTIONS if from_logits else p,
        expected=expected,
        function=focal_loss,
        edge_cases=[
            (LABELS, FAR if from_logits else CERTAIN),
            (1 - targets, FAR if from_logits else CERTAIN),
        ],
    )


@pytest.mark.parametrize("from_logits", [True, False])
def test_loss_softmax(from_logits):
    arguments = {
        "alpha": [0.25, 2.0, 1.0, 0.5],
        "gamma": 0.5,
        "activation": "softmax",
        "from_logits": from_logits,
        "ignore_class": 255,
    }
    labels = RNG.integers(0, 4, 8)
    logits = PREDICTIONS.reshape(10, 4)[:8]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = softmax_definition(labels, logits, arguments["alpha"], 0.5)
    expected[3] = 0
    far = (FAR if from_logits else CERTAIN).reshape(10, 4)[1:9]
    run_loss_test(
        FocalLoss,
        arguments,
        np.where(np.arange(8) == 3, 255, labels),
        logits if from_logits else p,
        expected=expected,
        function=focal_loss,
        edge_cases=[(np.arange(8) % 4, far), (np.full(8, 255), far)],
    )


def test_loss_divided_by_positives():
    run_loss_test(
        FocalLoss,
        {"normalize_by_positives": True, "from_logits": True, "reduction": "sum"},
        LABELS,
        PREDICTIONS,
        function=focal_loss,
        edge_cases=[(np.full_like(LABELS, -1), FAR), (np.full_like(LABELS, -2), FAR)],
    )


# --- against others ------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.25, None])
def test_labels_between_no_and_yes_are_mixed_in_p_t(alpha):
    y_true = RNG.uniform(0, 1, (6, 3)).astype("float32")
    p = RNG.uniform(0.01, 0.99, (6, 3)).astype("float32")
    results = values(y_true, p, alpha=alpha, gamma=1.5)
    np.testing.assert_allclose(results, definition(y_true, p, alpha, 1.5), rtol=1e-5)


def test_gamma_zero_without_alpha_is_cross_entropy():
    results = values(ONE_HOT, LOGITS, alpha=None, gamma=0, from_logits=True)
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True, reduction="none")
    np.testing.assert_allclose(results / 3, keras_loss(ONE_HOT, LOGITS), rtol=1e-5)
    softmax = values([0, 2], LOGITS, alpha=None, gamma=0, from_logits=True, activation="softmax")
    keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    np.testing.assert_allclose(softmax, keras_loss(np.array([0, 2]), LOGITS), rtol=1e-5)


def test_alpha_equals_class_balancing_of_keras():
    """Keras's loss forgets α unless apply_class_balancing=True, and means over the last axis."""
    options = {"alpha": 0.25, "gamma": 2.0, "from_logits": True, "reduction": "none"}
    plain = keras.losses.BinaryFocalCrossentropy(**options)(ONE_HOT, LOGITS)
    balanced = keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, **options)
    results = values(ONE_HOT, LOGITS, from_logits=True)
    np.testing.assert_allclose(results / 3, balanced(ONE_HOT, LOGITS), rtol=1e-4)
    assert np.abs(results / 3 - keras.ops.convert_to_numpy(plain)).max() > 0.01


def test_gradient_from_logits():
    """With z = x · (1 − 2y) and s = σ(z): α_t s^γ (γ (1 − s) ln(1 + e^z) + s), also at logits 0."""
    logits = np.float32([[0, 0, 3, -3], [-20, 20, -20, 20]])
    y_true = np.float32([[0, 1, 0, 1], [0, 0, 1, 1]])
    _, (results,) = _gradients.gradients(
        lambda p: focal_loss(y_true, p, from_logits=True), [], logits
    )
    sign = 1 - 2 * y_true
    z = (logits * sign).astype("float64")
    s = 1 / (1 + np.exp(-z))
    slope = sign * s**2 * (2 * (1 - s) * np.log1p(np.exp(z)) + s)
    weights = _checks.random_array((2,), seed=1)[:, None]  # of the sum that is derived
    expected = weights * np.where(y_true > 0, 0.25, 0.75) * slope
    np.testing.assert_allclose(results, expected, rtol=1e-4, atol=1e-9)


# --- normalizer and anchors that are left out ----------------------------------------------------


def test_normalize_by_positives_divides_by_the_batch():
    plain = values(LABELS, PREDICTIONS, from_logits=True)
    results = values(LABELS, PREDICTIONS, from_logits=True, normalize_by_positives=True)
    np.testing.assert_allclose(results, plain / 5, rtol=1e-6)
    dense = (LABELS[..., None] == np.arange(4)).astype("float32")
    dense[0, 0, 1] = 1  # an anchor of two classes is one anchor
    options = {"from_logits": True, "gamma": 0.0}
    plain = values(dense, PREDICTIONS, **options)
    results = values(dense, PREDICTIONS, normalize_by_positives=True, **options)
    np.testing.assert_allclose(results, plain / 5, rtol=1e-6)


def test_batch_without_positives_keeps_the_background_loss():
    """Keras Hub's RetinaNet sets the whole loss to zero there."""
    background = np.full((2, 5), -1)
    results = values(background, PREDICTIONS, from_logits=True, normalize_by_positives=True)
    np.testing.assert_allclose(results, values(background, PREDICTIONS, from_logits=True))
    assert results.min() > 0.1


@pytest.mark.parametrize("background", [0, 3])
def test_positives_of_the_softmax_form(background):
    labels = np.array([[0, 1, 3, -2, 1], [0, 3, 2, 2, -2]])
    options = {"from_logits": True, "activation": "softmax"}
    plain = values(labels, PREDICTIONS, **options)
    positives = ((labels != background) & (labels >= 0)).sum()
    options.update(normalize_by_positives=True, background_class=background)
    np.testing.assert_allclose(values(labels, PREDICTIONS, **options), plain / positives, rtol=1e-6)
    dense = np.eye(4, dtype="float32")[np.where(labels < 0, background, labels)]
    results = values(dense, PREDICTIONS, **options)
    np.testing.assert_allclose(results[labels >= 0], (plain / positives)[labels >= 0], rtol=1e-5)


def test_other_labels_of_background_and_ignored_agree():
    """Detectron's: the number of classes is background, −1 is left out."""
    theirs = np.where(LABELS == -1, 4, np.where(LABELS == -2, -1, LABELS))
    options = {"from_logits": True, "normalize_by_positives": True}
    results = values(theirs, PREDICTIONS, background_class=4, ignore_class=-1, **options)
    np.testing.assert_array_equal(results, values(LABELS, PREDICTIONS, **options))


def test_ignore_class_among_the_classes_has_loss_zero():
    labels = np.where(LABELS == -2, -1, LABELS)
    results = values(labels, PREDICTIONS, ignore_class=2, from_logits=True)
    plain = values(labels, PREDICTIONS, from_logits=True)
    np.testing.assert_array_equal(results, np.where(labels == 2, 0, plain))


def test_ignore_class_with_sample_weight_has_loss_zero():
    weights = np.float32([[1, 1, 0, 1, 1]] * 2)
    loss = FocalLoss(from_logits=True, reduction="none")
    plain = keras.ops.convert_to_numpy(loss(LABELS, PREDICTIONS))
    weighted = keras.ops.convert_to_numpy(loss(LABELS, PREDICTIONS, sample_weight=weights))
    np.testing.assert_allclose(weighted, plain * weights)
    assert (plain[LABELS == -2] == 0).all()


def test_labels_with_a_last_axis_of_one():
    with_axis = values(LABELS[..., None], PREDICTIONS, from_logits=True)
    np.testing.assert_array_equal(with_axis, values(LABELS, PREDICTIONS, from_logits=True))


# --- targets instead of codes --------------------------------------------------------------------


@pytest.mark.parametrize("background", [-1, 0, 2, 3])
def test_targets_equal_labels(background):
    """Detectors hand masks on, and class numbers that count no background."""
    sigmoid, ignored = background < 0, -2
    labels = LABELS if sigmoid else np.where(LABELS == -1, background, LABELS)
    positive = (labels != background) & (labels != ignored)
    shift = (labels > background) & (not sigmoid)
    targets = {
        "labels": np.where(positive, labels - shift, 77),
        "positive": positive,
        "valid": labels != ignored,
    }
    options = {
        "from_logits": True,
        "normalize_by_positives": True,
        "background_class": background,
        "activation": "sigmoid" if sigmoid else "softmax",
    }
    expected = values(labels, PREDICTIONS, **options)
    np.testing.assert_array_equal(values(targets, PREDICTIONS, **options), expected)
    results = FocalLoss(reduction="sum", **options)(targets, PREDICTIONS)
    assert float(results) == pytest.approx(expected.sum(), rel=1e-5)


def test_targets_of_a_single_class():
    labels = np.array([[0, 0, 0, 0, 0]] * 2)
    positive = np.array([[True, False, False, True, False]] * 2)
    targets = {"labels": labels, "positive": positive}
    expected = values(positive[..., None] * 1.0, PREDICTIONS[..., :1], from_logits=True)
    results = values(targets, PREDICTIONS[..., :1], from_logits=True)
    np.testing.assert_array_equal(results, expected)


def test_positive_anchors_that_are_not_valid_count_for_nothing():
    positive = np.array([[True, True, False, False, False]] * 2)
    valid = np.array([[True, False, True, True, False]] * 2)
    options = {"from_logits": True, "normalize_by_positives": True}
    targets = {"labels": np.where(valid, 0, 77), "positive": positive, "valid": valid}
    expected = {"labels": np.zeros((2, 5), int), "positive": positive & valid, "valid": valid}
    results = values(targets, PREDICTIONS, **options)
    np.testing.assert_array_equal(results, values(expected, PREDICTIONS, **options))
    assert results[valid].all()


def test_targets_of_the_softmax_form_need_a_score_of_the_background():
    targets = {"labels": LABELS * 0, "positive": LABELS >= 0}
    with pytest.raises(ValueError, match="background_class must be one of the 4 places"):
        values(targets, PREDICTIONS, activation="softmax", from_logits=True)


# --- properties ----------------------------------------------------------------------------------

LOGIT = st.floats(-50, 50, width=32)


@settings(max_examples=25)
@given(arrays("float32", (4, 3), elements=LOGIT), st.permutations(range(4)))
def test_order_of_anchors_and_bounds(logits, order):
    labels = np.array([0, 2, -1, -2])
    losses = values(labels, logits, from_logits=True)
    assert (losses >= 0).all()
    assert np.isfinite(losses).all()
    moved = values(labels[order], logits[order], from_logits=True)
    np.testing.assert_allclose(losses[order], moved, rtol=1e-6)
    entropy = values(labels, logits, from_logits=True, gamma=0)
    assert (losses <= entropy * (1 + 1e-5)).all()


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"alpha": 1.5}, "alpha must be None"),
        ({"alpha": [0.5, -1]}, "alpha must be None"),
        ({"alpha": float("nan")}, "alpha must be None"),
        ({"alpha": [[0.5]]}, "alpha must be None"),
        ({"alpha": -1.0, "activation": "softmax"}, "alpha must be None"),
        ({"gamma": -0.1}, "gamma must be at least 0"),
        ({"gamma": float("nan")}, "gamma must be at least 0"),
        ({"activation": "relu"}, "activation must be one of"),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        FocalLoss(**arguments)
    with pytest.raises(ValueError, match=match):
        focal_loss(ONE_HOT, LOGITS, **arguments)


@pytest.mark.parametrize("y_true", [np.zeros((2, 2)), np.zeros((2, 3, 1)), np.zeros(3), 0.0])
def test_labels_of_another_shape_raise(y_true):
    with pytest.raises(ValueError, match=r"y_true must be one label .* received shape"):
        focal_loss(y_true, LOGITS)


@pytest.mark.parametrize("label", [3, -3, 0.5, float("nan")])
def test_labels_out_of_range_raise(label):
    with pytest.raises(ValueError, match="y_true must be whole numbers from 0 to 2"):
        focal_loss(np.array([0, label]), LOGITS, from_logits=True)


def test_softmax_with_background_label_raises():
    with pytest.raises(ValueError, match="from 0 to 2, or -2; received -1"):
        focal_loss(np.array([0, -1]), LOGITS, activation="softmax", from_logits=True)


@pytest.mark.parametrize("value", [-1, 1.5, float("nan")])
def test_dense_labels_out_of_range_raise(value):
    with pytest.raises(ValueError, match="Dense y_true must be between 0 and 1"):
        focal_loss(np.where(ONE_HOT > 0, value, 0), LOGITS, from_logits=True)


def test_alpha_of_another_number_of_classes_raises():
    with pytest.raises(ValueError, match="one number for each of 3 classes"):
        focal_loss(ONE_HOT, LOGITS, alpha=[0.5, 0.5])


def test_no_anchors():
    assert values(np.zeros((0,)), np.zeros((0, 3))).shape == (0,)


def test_single_class_with_labels_raises():
    """A 0 among class numbers would be the class, in a map it is background."""
    with pytest.raises(ValueError, match="For a single class, y_true must be a map"):
        FocalLoss()(np.array([1, 0]), np.array([[0.9], [0.1]]))
    map_of_one = FocalLoss(reduction="sum")(np.array([[1.0], [0.0]]), np.array([[0.9], [0.1]]))
    two = focal_loss(np.array([[1.0, 0.0]]), np.array([[0.9, 0.1]]))
    assert float(map_of_one) == pytest.approx(float(two[0]))


def test_masked_classes_add_nothing():
    """A logit of −∞ at a class that is not wanted: `ln(1 + e) − 1` by softmax."""

    def of(logits, gamma, activation):
        losses = focal_loss(np.array([2]), np.float32([logits]), None, gamma, True, activation)
        return float(keras.ops.convert_to_numpy(losses)[0])

    masked, entropy = [-np.inf, 0, 1], np.log(1 + np.e) - 1
    assert of(masked, 0.0, "softmax") == pytest.approx(entropy, rel=1e-5)
    assert of(masked, 2.0, "softmax") == pytest.approx(entropy / (1 + np.e) ** 2, rel=1e-5)
    expected = np.log(2) / 4 + np.log1p(np.exp(-1)) / (1 + np.e) ** 2
    assert of(masked, 2.0, "sigmoid") == pytest.approx(expected, rel=1e-5)
    assert of([-np.inf, -np.inf, np.inf], 2.0, "sigmoid") == 0


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_masked_classes_leave_the_gradient_finite(activation):
    def losses(logits):
        return focal_loss(np.array([2]), logits, None, 2.0, True, activation)

    _, [gradient] = _gradients.gradients(losses, [], np.float32([[-np.inf, 0, 1]]))
    assert np.isfinite(gradient).all()
    assert gradient[0, 0] == 0
