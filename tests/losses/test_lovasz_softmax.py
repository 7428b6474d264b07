import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdl.losses import LovaszSoftmax, lovasz_softmax
from kdl.losses._lovasz import lovasz_extension
from kdl.testing import run_loss_test
from kdl.testing._gradients import gradients, weighted_sum

P = np.array([[[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]], "float32")
Y = np.array([[0, 0, 2, 2]])


def random(*shape):
    return np.random.default_rng(0).random(shape).astype("float32")


def random_labels(*shape, high):
    return np.random.default_rng(1).integers(0, high, shape)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def distance(wrong, truth):
    """Jaccard distance of the truth from what is seen if these pixels are wrong."""
    seen = truth ^ wrong
    union = (seen | truth).sum()
    return 1 - (seen & truth).sum() / union if union else 0.0


def of_class(errors, truth):
    """The extension, one pixel after the other: loss and its slope by each error."""
    slopes, wrong = np.zeros(len(errors)), np.zeros(len(errors), bool)
    for pixel in np.argsort(-errors, kind="stable"):
        before = distance(wrong, truth)
        wrong[pixel] = True
        slopes[pixel] = distance(wrong, truth) - before
    return (slopes * errors).sum(), slopes


def definition(p, labels, classes="present", known=None):
    """Mean over the classes, classes last; pixels that are not known are taken away."""
    known = np.ones(labels.shape, bool) if known is None else known
    p, labels = p[known].astype("float64"), labels[known]
    chosen = range(p.shape[-1]) if isinstance(classes, str) else classes
    if classes == "present":
        chosen = [c for c in chosen if (labels == c).any()]
    losses = [of_class(np.abs((labels == c) - p[:, c]), labels == c)[0] for c in chosen]
    return np.mean(losses) if losses else 0.0


def test_worked_numbers():
    assert float(LovaszSoftmax()(Y, P)) == pytest.approx(0.55, abs=1e-6)
    assert float(LovaszSoftmax(classes="all")(Y, P)) == pytest.approx(0.633333, abs=1e-6)
    for number, loss in enumerate((0.45, 0.8, 0.65)):
        assert float(LovaszSoftmax(classes=[number])(Y, P)) == pytest.approx(loss, abs=1e-6)


def test_worked_numbers_of_one_channel():
    y = np.array([[1, 1, 0, 0]])
    p = np.array([[[0.9], [0.8], [0.3], [0.05]]], "float32")
    assert float(LovaszSoftmax()(y, p)) == pytest.approx(0.2, abs=1e-6)
    # Slopes by |y − p| are 0 for the smallest error and 1/3 for the others.
    weight = float(weighted_sum(keras.ops.ones((1,))))
    _, (results,) = gradients(lambda item: lovasz_softmax(y, item), [], p)
    signs = np.array([-1, -1, 1, 1])
    np.testing.assert_allclose(
        results[0, :, 0] / weight * signs, [1 / 3, 1 / 3, 1 / 3, 0], atol=1e-6
    )
    hard = np.array([[[1.0], [0.0], [1.0], [0.0]]], "float32")
    assert float(LovaszSoftmax()(y, hard)) == pytest.approx(0.666667, abs=1e-6)


@pytest.mark.parametrize("classes", ["present", "all", [2, 1]])
def test_definition(classes):
    """Class 2 has no true pixel; class 1 has none in the first image."""
    z, y = random(3, 3, 4, 3) * 4, random_labels(3, 3, 4, high=2)
    y[0] = 0
    p = softmax(z)
    results = lovasz_softmax(y, p, classes=classes)
    np.testing.assert_allclose(results, [definition(p, y, classes)] * 3, rtol=1e-5)
    results = lovasz_softmax(y, z, from_logits=True, classes=classes, per_image=True)
    expected = [definition(p[i], y[i], classes) for i in range(3)]
    np.testing.assert_allclose(results, expected, rtol=1e-5)


@pytest.mark.parametrize("classes", ["present", "all"])
@pytest.mark.parametrize("per_image", [False, True])
def test_ignored_pixels_equal_missing_pixels(per_image, classes):
    """Void is most of one image, and all of another."""
    z, y = random(3, 3, 4, 3) * 4, random_labels(3, 3, 4, high=3)
    known = random(3, 3, 4) < np.array([0.7, 0.2, -1.0])[:, None, None]
    labels = np.where(known, y, 255)
    arguments = {"classes": classes, "per_image": per_image, "ignore_class": 255}
    results = lovasz_softmax(labels, z, from_logits=True, **arguments)
    p = softmax(z)
    if per_image:
        expected = [definition(p[i], y[i], classes, known[i]) for i in range(2)] + [0]
    else:
        expected = [definition(p, y, classes, known)] * 3
    np.testing.assert_allclose(results, expected, rtol=1e-5)


def test_gradient_of_definition():
    """Errors without ties, so that there is one order; void pixels have gradient 0."""
    p, y = softmax(random(1, 9, 3) * 4), random_labels(1, 9, high=3)
    y[0, 4] = 255
    weight = float(weighted_sum(keras.ops.ones((1,))))
    loss = {"classes": "all", "ignore_class": 255}
    _, (results,) = gradients(lambda item: lovasz_softmax(y, item, **loss), [], p)
    known = y[0] != 255
    for number in range(3):
        truth = y[0, known] == number
        slopes = of_class(np.abs(truth - p[0, known, number]), truth)[1]
        expected = np.where(truth, -slopes, slopes) / 3
        np.testing.assert_allclose(results[0, known, number] / weight, expected, atol=1e-6)
    assert not results[0, 4].any()


def test_layouts_and_kinds_of_labels_agree():
    p, y = softmax(random(3, 3, 4, 3)), random_labels(3, 3, 4, high=3)
    for per_image in (False, True):
        expected = lovasz_softmax(y, p, per_image=per_image)
        maps = np.eye(3, dtype="float32")[y]
        for labels in (y[..., None], maps, y.astype("uint8")):
            results = lovasz_softmax(labels, p, per_image=per_image)
            np.testing.assert_allclose(results, expected, rtol=1e-6)
        for labels in (y, y[:, None], maps.transpose(0, 3, 1, 2)):
            results = lovasz_softmax(labels, p.transpose(0, 3, 1, 2), per_image=per_image, axis=1)
            np.testing.assert_allclose(results, expected, rtol=1e-6)


LOGITS = random(3, 3, 4, 3) * 4 - 2
LABELS = random_labels(3, 3, 4, high=3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"from_logits": True, "axis": -1},
        {"from_logits": True, "classes": [1, 2], "ignore_class": 0},
    ],
)
def test_loss(arguments):
    huge = np.full_like(LOGITS, 200.0)
    huge[..., 0] = -200.0
    same = np.zeros_like(LABELS)
    run_loss_test(
        LovaszSoftmax,
        arguments,
        LABELS,
        LOGITS,
        function=lovasz_softmax,
        edge_cases=[(same + 1, huge), (same + 2, 0 * huge)],
    )


def test_loss_of_probabilities_at_its_edges():
    """No foreground, all foreground, probabilities 0 and 1, all alike."""
    labels = np.array([[1, 1, 0, 0], [0, 1, 0, 0]])
    zeros = np.zeros((2, 4, 1), "float32")
    p = zeros + np.linspace(0.1, 0.8, 4, dtype="float32")[:, None]
    none, every = np.zeros_like(labels), np.ones_like(labels)
    edges = [(y, zeros + c) for y in (none, every) for c in (0.0, 1.0)]
    arguments = {"classes": "all", "per_image": True}
    run_loss_test(LovaszSoftmax, arguments, labels, p, function=lovasz_softmax, edge_cases=edges)
    empty = lovasz_softmax(none, p, classes="all")
    np.testing.assert_allclose(empty, [0.8, 0.8], rtol=1e-6)  # the largest error


def test_slopes_of_many_pixels_keep_their_digits():
    """As differences of distances in float32, slopes of a millionth have an error of 6 %."""
    truth = random(1, 1_000_000) < 0.4
    common = truth.sum() - np.cumsum(truth)
    union = truth.sum() + np.cumsum(~truth)
    expected = np.diff(1 - common / union, prepend=0.0)
    errors = np.linspace(1, 0.5, truth.size, dtype="float32")[None]
    loss = (expected * errors).sum()
    assert float(lovasz_extension(errors, truth * 1.0)[0]) == pytest.approx(loss, rel=1e-6)
    weight = float(weighted_sum(keras.ops.ones((1,))))
    _, (results,) = gradients(lambda item: lovasz_extension(item, truth * 1.0), [], errors)
    # Below 1e-15 the definition itself has lost its digits.
    np.testing.assert_allclose(results[0] / weight, expected, rtol=1e-5, atol=1e-15)


@settings(max_examples=25)
@given(
    z=hnp.arrays("float32", (2, 6, 3), elements=st.floats(-20, 20, width=32)),
    y=hnp.arrays("int32", (2, 6), elements=st.integers(0, 2)),
    order=st.permutations(range(6)),
)
def test_bounds_order_and_hard_predictions(z, y, order):
    results = np.array(lovasz_softmax(y, z, from_logits=True, per_image=True))
    assert (results >= 0).all()
    assert (results <= 1 + 1e-6).all()
    moved = lovasz_softmax(y[:, order], z[:, order], from_logits=True, per_image=True)
    np.testing.assert_allclose(moved, results, atol=1e-5)
    hard = np.eye(3, dtype="float32")[z.argmax(-1)]
    results = lovasz_softmax(y, hard, per_image=True)
    seen, truth = hard > 0, np.eye(3)[y] > 0
    for i in range(2):
        distances = [
            distance(seen[i, :, c] ^ truth[i, :, c], truth[i, :, c])
            for c in range(3)
            if truth[i, :, c].any()
        ]
        assert float(results[i]) == pytest.approx(np.mean(distances), abs=1e-6)


@pytest.mark.parametrize("classes", ["most", [], [0, 0], [-1], None, 3])
def test_bad_classes(classes):
    with pytest.raises(ValueError, match="classes must be"):
        LovaszSoftmax(classes=classes)


@pytest.mark.parametrize(
    ("y", "p", "arguments", "message"),
    [
        (LABELS[:, :2], LOGITS, {}, "y_true must hold labels"),
        (LABELS + 1, LOGITS, {}, r"y_true must lie in 0 … 2"),
        (LABELS, LOGITS, {"classes": [3]}, "must be below the number of classes in y_pred, 3"),
        (LABELS, LOGITS, {"from_logits": False}, "Pass from_logits=True"),
        (softmax(LOGITS), LOGITS, {}, "zeros and ones; values between came"),
    ],
)
def test_bad_input(y, p, arguments, message):
    with pytest.raises(ValueError, match=message):
        LovaszSoftmax(**{"from_logits": True, **arguments})(y, p)
