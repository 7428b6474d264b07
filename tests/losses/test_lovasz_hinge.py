import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdl.losses import LovaszHinge, lovasz_hinge
from kdl.testing import run_loss_test
from kdl.testing._gradients import gradients, weighted_sum


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32") * 2


def random_labels(*shape, high=2):
    return np.random.default_rng(1).integers(0, high, shape)


def definition(z, labels, known=None):
    """Loss and slopes by the logits, one pixel after the other; unknown ones are taken away."""
    known = np.ones(z.shape, bool) if known is None else known
    signs = 2 * labels[known].astype("float64") - 1
    errors = 1 - z[known] * signs
    total, lost, taken, before = (labels[known] > 0).sum(), 0, 0, 0.0
    loss, slopes = 0.0, np.zeros(len(errors))
    for pixel in np.argsort(-errors, kind="stable"):
        lost += signs[pixel] > 0
        taken += signs[pixel] < 0
        after = 1 - (total - lost) / (total + taken)
        if errors[pixel] > 0:
            loss += errors[pixel] * (after - before)
            slopes[pixel] = -signs[pixel] * (after - before)
        before = after
    return loss, slopes


def test_worked_numbers():
    y, z = np.array([[1, 1, 0, 0]]), np.array([[2.0, 0.5, -0.4, -3.0]], "float32")
    assert float(LovaszHinge()(y, z)) == pytest.approx(0.366667, abs=1e-6)


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("void", [255, -1])
def test_ignored_pixels_equal_missing_pixels(per_image, void):
    """Void is nowhere, in most of an image, all of one; one image has no foreground but void."""
    z, y = random(5, 4, 6), random_labels(5, 4, 6)
    known = (
        np.random.default_rng(2).random(z.shape) < np.array([2, 0.7, 0.2, -1, 0.5])[:, None, None]
    )
    y[4] = np.where(known[4], 0, 1)
    results = lovasz_hinge(np.where(known, y, void), z, per_image, ignore_class=void)
    if per_image:
        expected = [definition(z[i], y[i], known[i])[0] for i in range(5)]
        assert expected[3] == 0
    else:
        expected = [definition(z, y, known)[0]] * 5
    np.testing.assert_allclose(results, expected, rtol=1e-5)


def test_gradient_of_definition():
    z, y = random(1, 12), random_labels(1, 12)
    y[0, 3] = 255
    weight = float(weighted_sum(keras.ops.ones((1,))))
    _, (results,) = gradients(lambda item: lovasz_hinge(y, item, ignore_class=255), [], z)
    known = y != 255
    slopes = definition(z, y, known)[1]
    np.testing.assert_allclose(results[known] / weight, slopes, atol=1e-6)
    assert results[0, 3] == 0


def test_layouts_agree():
    z, y = random(2, 5, 4), random_labels(2, 5, 4)
    expected = lovasz_hinge(y, z)
    for labels in (y, y[..., None], y.astype(bool)):
        for logits in (z, z[..., None]):
            np.testing.assert_allclose(lovasz_hinge(labels, logits), expected, rtol=1e-6)
    column = lovasz_hinge(y[:, 0, 0], z[:, 0, 0])
    np.testing.assert_allclose(column, lovasz_hinge(y[:, 0, :1], z[:, 0, :1]), rtol=1e-6)


def test_loss():
    z, y = random(3, 4, 5), random_labels(3, 4, 5)
    run_loss_test(LovaszHinge, {"per_image": False}, y, z, function=lovasz_hinge)
    none, every = np.zeros_like(y), np.ones_like(y)
    edges = [(labels, z) for labels in (every, none + 255)]
    edges += [(labels, 0 * z + c) for labels in (none, y) for c in (1, 6e4)]
    arguments = {"ignore_class": 255}
    run_loss_test(LovaszHinge, arguments, y, z, function=lovasz_hinge, edge_cases=edges)


@settings(max_examples=25)
@given(
    z=hnp.arrays("float32", (2, 6), elements=st.floats(-9, 9, width=32)),
    y=hnp.arrays("int32", (2, 6), elements=st.sampled_from([0, 1, 255])),
    order=st.permutations(range(6)),
)
def test_value_order_and_bounds(z, y, order):
    results = np.array(lovasz_hinge(y, z, ignore_class=255))
    expected = [definition(z[i], y[i], y[i] != 255)[0] for i in range(2)]
    np.testing.assert_allclose(results, expected, atol=1e-5, rtol=1e-5)
    moved = lovasz_hinge(y[:, order], z[:, order], ignore_class=255)
    np.testing.assert_allclose(moved, results, atol=1e-5)
    assert (results >= 0).all()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((2, 5)), "y_true must hold labels"),
        (np.full((2, 4), 2), "y_true must lie in 0 … 1"),
        (np.full((2, 4), 0.5), "values between came"),
        (np.full((2, 4), np.nan), "y_true must lie in 0 … 1"),
    ],
)
def test_bad_input(y, message):
    with pytest.raises(ValueError, match=message):
        LovaszHinge()(y, np.zeros((2, 4), "float32"))
