import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdl.losses import MixupCrossentropy, label_smoothing_crossentropy, mixup_crossentropy
from kdl.testing import run_loss_test

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((4, 5)).astype("float32")
FIRST, SECOND = np.array([0, 4, 2, 2]), np.array([1, 1, 2, 0])
SHARES = np.float32([0.25, 1, 0.6, 0])
LABELS = np.stack([FIRST, SECOND, SHARES], -1).astype("float32")
FAR = np.float32([[1e4, -1e4, 0, 0, 0], [0, -1e4, 1e4, 0, 0], [0] * 5, [88, -88, 1, 2, 3]])


def values(*arguments, **options):
    return keras.ops.convert_to_numpy(mixup_crossentropy(*arguments, **options))


def softmax(logits):
    exponentials = np.exp(logits.astype("float64"))
    return exponentials / exponentials.sum(-1, keepdims=True)


def definition(labels, p):
    """Two cross-entropies, as the paper's code has them."""
    losses = []
    for (first, second, share), row in zip(labels, p, strict=True):
        losses.append(-share * np.log(row[int(first)]) - (1 - share) * np.log(row[int(second)]))
    return np.array(losses)


@pytest.mark.parametrize("from_logits", [True, False])
def test_loss(from_logits):
    certain = np.eye(5, dtype="float32")[[0, 1, 3, 4]]
    run_loss_test(
        MixupCrossentropy,
        {"from_logits": from_logits},
        LABELS,
        LOGITS if from_logits else softmax(LOGITS),
        expected=definition(LABELS, softmax(LOGITS)),
        function=mixup_crossentropy,
        edge_cases=[(LABELS, FAR if from_logits else certain)],
    )


def test_smoothing_and_mixing_commute():
    results = values(LABELS, LOGITS, True, 0.2)
    parts = [
        keras.ops.convert_to_numpy(
            label_smoothing_crossentropy(labels, LOGITS, 0.2, from_logits=True)
        )
        for labels in (FIRST, SECOND)
    ]
    np.testing.assert_allclose(results, SHARES * parts[0] + (1 - SHARES) * parts[1], rtol=1e-5)
    run_loss_test(
        MixupCrossentropy,
        {"from_logits": True, "label_smoothing": 0.2},
        LABELS,
        LOGITS,
        expected=results,
        function=mixup_crossentropy,
    )


def test_equals_cross_entropy_with_the_mixed_label():
    mixed = SHARES[:, None] * np.eye(5)[FIRST] + (1 - SHARES[:, None]) * np.eye(5)[SECOND]
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, reduction="none")
    results = values(LABELS, LOGITS, from_logits=True)
    np.testing.assert_allclose(results, theirs(mixed.astype("float32"), LOGITS), rtol=1e-5)


def test_masks():
    logits = RNG.standard_normal((2, 3, 4, 5)).astype("float32")
    labels = RNG.integers(0, 5, (2, 3, 4, 3)).astype("float32")
    labels[..., 2] = 0.3
    results = values(labels, logits, from_logits=True)
    expected = definition(labels.reshape(-1, 3), softmax(logits).reshape(-1, 5))
    np.testing.assert_allclose(results.ravel(), expected, rtol=1e-5)


@settings(max_examples=25)
@given(st.floats(0, 1, width=32), st.integers(0, 4), st.integers(0, 4))
def test_changing_sides(share, first, second):
    """A share of λ of a is a share of 1 − λ of b; equal labels make λ irrelevant."""
    one = np.float32([[first, second, share]] * 4)
    other = np.float32([[second, first, 1 - np.float32(share)]] * 4)
    results = values(one, LOGITS, from_logits=True)
    np.testing.assert_allclose(
        results, values(other, LOGITS, from_logits=True), rtol=1e-4, atol=1e-6
    )
    plain = values(np.float32([[first, first, 1]] * 4), LOGITS, from_logits=True)
    if first == second:
        np.testing.assert_allclose(results, plain, rtol=1e-5)


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_share_outside_zero_and_one(share):
    with pytest.raises(ValueError, match=r"λ, y_true\[..., 2\], must be between 0 and 1"):
        MixupCrossentropy()(np.float32([[0, 1, share]]), softmax(LOGITS)[:1])


@pytest.mark.parametrize("labels", [[0, 5, 0.5], [-1, 0, 0.5], [0.5, 0, 0.5]])
def test_labels_out_of_range_raise(labels):
    with pytest.raises(ValueError, match="y_true must be whole numbers from 0 to 4"):
        mixup_crossentropy(np.float32([labels]), LOGITS[:1])


@pytest.mark.parametrize("y_true", [FIRST, np.eye(5)[FIRST], LABELS[:, :2]])
def test_other_kinds_of_label(y_true):
    with pytest.raises(ValueError, match="two labels and the share of the first"):
        mixup_crossentropy(y_true, LOGITS)


def test_bad_smoothing():
    with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1"):
        MixupCrossentropy(label_smoothing=2)


def test_masked_classes_add_nothing():
    results = mixup_crossentropy(np.float32([[2, 1, 1]]), np.float32([[-np.inf, 0, 1]]), True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(results), np.log(1 + np.e) - 1, rtol=1e-5)
