import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdl.losses import JaccardLoss, jaccard_loss
from kdl.testing import run_loss_test
from kdl.testing._gradients import gradients, weighted_sum

WORKED = np.array([[[0.9], [0.8], [0.3], [0.05]]], "float32"), np.array([[1, 1, 0, 0]])


def random(*shape):
    return np.random.default_rng(0).random(shape).astype("float32")


def random_labels(*shape, high):
    return np.random.default_rng(1).integers(0, high, shape)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def of_sets(p, y, smoothing, squared):
    """The formula, for the pixels of one class."""
    p, y = p.astype("float64"), y.astype("float64")
    common = (p * y).sum()
    power = 2 if squared else 1
    union = (p**power).sum() + (y**power).sum() - common
    return 0.0 if union + smoothing == 0 else 1 - (common + smoothing) / (union + smoothing)


def definition(p, labels, smoothing=1.0, squared=False, known=None, classes="all"):
    """Mean over the classes, classes last; pixels that are not known are taken away."""
    known = np.ones(labels.shape, bool) if known is None else known
    chosen = range(p.shape[-1]) if isinstance(classes, str) else classes
    if classes == "present":
        chosen = [c for c in chosen if (labels[known] == c).any()]
    losses = [of_sets(p[..., c][known], labels[known] == c, smoothing, squared) for c in chosen]
    return np.mean(losses) if losses else 0.0


@pytest.mark.parametrize(
    ("arguments", "index"),
    [
        ({"smoothing": 0.0}, 0.723404),
        ({"smoothing": 0.0, "squared": True}, 0.922659),
        ({"smoothing": 1.0}, 0.805970),
    ],
)
def test_worked_numbers(arguments, index):
    p, y = WORKED
    assert float(JaccardLoss(**arguments)(y, p)) == pytest.approx(1 - index, abs=1e-6)


@pytest.mark.parametrize("squared", [False, True])
def test_distance_of_sets_at_hard_predictions(squared):
    """J({1, 2, 3}, {2, 3, 4, 5}) = 0.4, and 2/3 wrong in the second example."""
    numbers = np.arange(6)
    first, second = np.isin(numbers, [1, 2, 3]), np.isin(numbers, [2, 3, 4, 5])
    loss = JaccardLoss(smoothing=0.0, squared=squared)
    p = first.astype("float32")[None, :, None]
    assert float(loss(second[None], p)) == pytest.approx(0.6, abs=1e-6)
    hard = np.array([[[1.0], [0.0], [1.0], [0.0]]], "float32")
    assert float(loss(WORKED[1], hard)) == pytest.approx(0.666667, abs=1e-6)


def test_is_tversky_with_ones():
    p, y = random(2, 5, 4, 1), random_labels(2, 5, 4, 1, high=2)
    keras_own = keras.losses.Tversky(alpha=1.0, beta=1.0, dtype="float32")(y, p)
    assert float(JaccardLoss(smoothing=0.0)(y, p)) == pytest.approx(float(keras_own), abs=1e-5)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("classes", ["all", "present", [2, 0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_formula_of_classes(squared, classes, smoothing):
    """Class 2 has no true pixel; class 1 has none in the first image."""
    p, y = softmax(random(2, 3, 4, 3)), random_labels(2, 3, 4, high=2)
    y[0] = 0
    arguments = {"smoothing": smoothing, "squared": squared, "classes": classes}
    results = jaccard_loss(y, p, **arguments)
    expected = definition(p, y, **arguments)
    np.testing.assert_allclose(results, [expected] * 2, rtol=1e-5)
    results = jaccard_loss(y, p, per_image=True, **arguments)
    expected = [definition(p[i], y[i], **arguments) for i in range(2)]
    np.testing.assert_allclose(results, expected, rtol=1e-5)


@pytest.mark.parametrize("per_image", [False, True])
def test_ignored_pixels_equal_missing_pixels(per_image):
    z, y = random(2, 3, 4, 3) * 3, random_labels(2, 3, 4, high=3)
    known = random_labels(2, 3, 4, high=2) > 0
    results = jaccard_loss(
        np.where(known, y, 255), z, from_logits=True, per_image=per_image, ignore_class=255
    )
    p = softmax(z)
    if per_image:
        expected = [definition(p[i], y[i], known=known[i]) for i in range(2)]
    else:
        expected = [definition(p, y, known=known)] * 2
    np.testing.assert_allclose(results, expected, rtol=1e-5)


def test_layouts_and_kinds_of_labels_agree():
    p, y = softmax(random(2, 3, 4, 3)), random_labels(2, 3, 4, high=3)
    expected = jaccard_loss(y, p, per_image=True)
    maps = np.eye(3, dtype="float32")[y]
    for labels in (y[..., None], maps, y.astype("uint8")):
        np.testing.assert_allclose(jaccard_loss(labels, p, per_image=True), expected, rtol=1e-6)
    first = p.transpose(0, 3, 1, 2)
    for labels in (y, y[:, None], maps.transpose(0, 3, 1, 2)):
        results = jaccard_loss(labels, first, per_image=True, axis=1)
        np.testing.assert_allclose(results, expected, rtol=1e-6)


def test_multi_label_logits():
    """Each class has its sigmoid, and entries of maps may be void."""
    z, y = random(2, 3, 4, 3) * 4 - 2, random_labels(2, 3, 4, 3, high=2)
    known = random(2, 3, 4, 3)[::-1] < 0.7
    arguments = {"from_logits": True, "multi_label": True, "ignore_class": -1}
    results = jaccard_loss(np.where(known, y, -1), z, **arguments)
    p = 1 / (1 + np.exp(-z))
    maps = [(p[..., c][known[..., c]], y[..., c][known[..., c]]) for c in range(3)]
    expected = np.mean([of_sets(*item, 1.0, False) for item in maps])
    np.testing.assert_allclose(results, [expected] * 2, rtol=1e-5)


def test_vectors_of_labels():
    """Without pixels the sets are those of the batch, or of one sample."""
    p, y = random(4, 3), random_labels(4, 3, high=2)
    expected = np.mean([of_sets(p[:, c], y[:, c], 1.0, False) for c in range(3)])
    np.testing.assert_allclose(jaccard_loss(y, p), [expected] * 4, rtol=1e-5)
    alone = [[of_sets(p[i, c], y[i, c], 1.0, False) for c in range(3)] for i in range(4)]
    results = jaccard_loss(y, p, per_image=True)
    np.testing.assert_allclose(results, np.mean(alone, -1), rtol=1e-5)


LOGITS = random(2, 3, 4, 3) * 4 - 2
LABELS = random_labels(2, 3, 4, high=3)
ONE = np.zeros((2, 4, 1), "float32")


@pytest.mark.parametrize(
    "arguments",
    [
        {"from_logits": True, "smoothing": 0.0, "classes": "present", "ignore_class": 2},
        {"from_logits": True, "squared": True, "classes": [1], "per_image": True, "axis": -1},
    ],
)
def test_loss(arguments):
    huge = np.full_like(LOGITS, 200.0)
    huge[..., 0] = -200.0
    same = np.zeros_like(LABELS)
    run_loss_test(
        JaccardLoss,
        arguments,
        LABELS,
        LOGITS,
        function=jaccard_loss,
        edge_cases=[(same, LOGITS), (same + 1, huge)],
    )


def test_loss_of_probabilities_at_its_edges():
    """No foreground, all foreground, probabilities 0, 1 and far below what can be squared."""
    labels = np.array([[1, 1, 0, 0], [0, 1, 0, 0]])
    none, every = np.zeros_like(labels), np.ones_like(labels)
    edges = [(y, ONE + p) for y in (none, every) for p in (0.0, 1.0, 1e-25)]
    run_loss_test(
        JaccardLoss,
        {"smoothing": 0.0},
        labels,
        ONE + 0.3,
        expected=[1 - 3 * 0.3 / (3 + 5 * 0.3)] * 2,
        function=jaccard_loss,
        edge_cases=edges,
    )


def test_all_ignored():
    y = np.full((2, 4), 255)
    for per_image in (False, True):
        results = jaccard_loss(y, ONE + 0.5, smoothing=0.0, ignore_class=255, per_image=per_image)
        np.testing.assert_array_equal(results, [0, 0])


def test_large_half_precision_sums():
    """A million pixels: their number is beyond float16."""
    p = np.full((2, 1000, 500, 1), 0.5, "float16")
    results = jaccard_loss(np.ones((2, 1000, 500), "int32"), p, smoothing=0.0)
    np.testing.assert_allclose(results, [0.5, 0.5], rtol=1e-5)


@pytest.mark.parametrize("squared", [False, True])
def test_gradient_is_that_of_differences(squared):
    y = random_labels(1, 3, 2, high=2)
    p = random(1, 3, 2)
    arguments = {"squared": squared, "smoothing": 0.3}
    _, (results,) = gradients(lambda item: jaccard_loss(y, item, **arguments), [], p)
    weight = float(weighted_sum(keras.ops.ones((1,))))  # of the only sample
    for index in np.ndindex(p.shape):
        step = np.zeros(p.shape)
        step[index] = 1e-6
        above, below = (
            np.mean([of_sets((p + s)[..., c], y[..., c], 0.3, squared) for c in range(2)])
            for s in (step, -step)
        )
        slope = weight * (above - below) / 2e-6
        assert results[index] == pytest.approx(slope, rel=1e-3, abs=1e-5)


@settings(max_examples=25)
@given(
    p=hnp.arrays("float32", (2, 6, 3), elements=st.floats(0, 1, width=32)),
    y=hnp.arrays("int32", (2, 6), elements=st.integers(0, 2)),
    order=st.permutations(range(6)),
    squared=st.booleans(),
)
def test_bounds_and_order(p, y, order, squared):
    arguments = {"smoothing": 0.0, "per_image": True, "squared": squared}
    results = np.array(jaccard_loss(y, p, **arguments))
    assert (results >= 0).all()
    assert (results <= 1).all()
    moved = jaccard_loss(y[:, order], p[:, order], **arguments)
    np.testing.assert_allclose(moved, results, atol=1e-6)
    twice = [np.concatenate([item, item], 1) for item in (y, p)]
    np.testing.assert_allclose(jaccard_loss(*twice, **arguments), results, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"smoothing": -1.0}, "smoothing must not be negative"),
        ({"classes": "most"}, 'classes must be "all", "present" or a list'),
        ({"classes": [0, 0]}, "distinct class numbers"),
        ({"classes": []}, "classes must be"),
        ({"classes": None}, "classes must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        JaccardLoss(**arguments)
    with pytest.raises(ValueError, match=message):
        jaccard_loss(LABELS, softmax(LOGITS), **arguments)


@pytest.mark.parametrize(
    ("y", "p", "arguments", "message"),
    [
        (LABELS[:, :2], LOGITS, {}, r"y_true must hold labels, \(2, 3, 4\), or a map"),
        (LABELS + 1, LOGITS, {}, r"y_true must lie in 0 … 2"),
        (LABELS - 1.0, LOGITS, {"ignore_class": 255}, "or equal ignore_class=255"),
        (LABELS * np.nan, LOGITS, {}, "y_true must lie in"),
        (LABELS, LOGITS, {"multi_label": True}, "multi_label=True needs a map for each class"),
        (LABELS, LOGITS, {"classes": [3]}, "must be below the number of classes in y_pred, 3"),
        (LABELS, LOGITS, {"from_logits": False}, "Pass from_logits=True"),
        (LABELS, LOGITS, {"axis": 4}, "a batch axis and, at axis=4, the classes"),
        (LABELS, LOGITS, {"axis": 0}, "a batch axis and, at axis=0, the classes"),
    ],
)
def test_bad_input(y, p, arguments, message):
    with pytest.raises(ValueError, match=message):
        JaccardLoss(**{"from_logits": True, **arguments})(y, p)
