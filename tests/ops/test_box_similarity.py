import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kdl.ops import box_ciou, box_diou, box_giou, box_iou
from kdl.testing._gradients import gradients

SIMILARITIES = {"giou": box_giou, "diou": box_diou, "ciou": box_ciou}


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def golden(root):
    return np.load(root / "tests" / "golden" / "detection" / "ops_boxes.npz")


@pytest.mark.parametrize("name", SIMILARITIES)
def test_values_are_those_of_torchvision(name, golden):
    values = SIMILARITIES[name](golden["source"][:20], golden["target"][10:35])
    np.testing.assert_allclose(numpy(values), golden[name], atol=5e-5)


def in_words(name, first, second):
    """The definitions, of one pair in Python's numbers."""
    (a, b, c, d), (e, f, g, h) = first, second
    shared = max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0)
    union = (c - a) * (d - b) + (g - e) * (h - f) - shared
    width, height = max(c, g) - min(a, e), max(d, h) - min(b, f)
    iou = shared / union
    if name == "giou":
        return iou - (width * height - union) / (width * height)
    distance = ((a + c - e - g) ** 2 + (b + d - f - h) ** 2) / 4
    diou = iou - distance / (width**2 + height**2)
    if name == "diou":
        return diou
    v = 4 / math.pi**2 * (math.atan((c - a) / (d - b)) - math.atan((g - e) / (h - f))) ** 2
    return diou - v * v / (1 - iou + v) if v else diou


@pytest.mark.parametrize("name", SIMILARITIES)
def test_values_are_those_of_the_definition_and_axes_broadcast(name):
    rng = np.random.default_rng(0)
    low, sides = rng.uniform(0, 10, (2, 6, 2)), rng.uniform(0.1, 8, (2, 6, 2))
    boxes = np.concatenate([low, low + sides], -1)
    values = numpy(SIMILARITIES[name](boxes, boxes[:1, :4]))
    assert values.shape == (2, 6, 4)
    expected = [[[in_words(name, a, b) for b in boxes[0, :4]] for a in image] for image in boxes]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


PAIRS = arrays.arrays(
    "float32", (2, 3, 4), elements=st.integers(-4, 4).map(float), fill=st.nothing()
)


@given(PAIRS)
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("name", SIMILARITIES)
def test_values_of_any_boxes_are_finite_and_at_most_the_iou(name, pairs):
    """Also of boxes without sides, and of sides that are negative."""
    boxes, others = pairs
    values = numpy(SIMILARITIES[name](boxes, others))
    assert np.isfinite(values).all()
    assert (values <= numpy(box_iou(boxes, others)) + 1e-6).all()


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("box", [[1.0, 1, 3, 3], [1, 1, 1, 3], [1, 1, 1, 1], [9, 9, 12, 10]])
def test_gradients_are_finite(name, box):
    other = np.float32([[1, 1, 3, 3]])
    _, [gradient] = gradients(lambda x: SIMILARITIES[name](x[0], other), [], [np.float32([box])])
    assert np.isfinite(gradient).all()


def test_a_box_that_is_no_box_raises():
    with pytest.raises(ValueError, match="boxes must have four numbers in the last axis"):
        box_giou(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"Expected boxes \(…, N, 4\) and others"):
        box_diou(np.zeros(4), np.zeros((2, 4)))


@pytest.mark.parametrize("name", SIMILARITIES)
def test_no_boxes_have_no_similarities(name):
    values = SIMILARITIES[name](np.zeros((0, 4)), np.zeros((3, 4)))
    assert numpy(values).shape == (0, 3)


@pytest.mark.parametrize("name", ["giou", "diou", "ciou"])
def test_equal_boxes_have_no_gradient_where_edges_meet(name):
    """Half of the gradient of an edge is each box's: both halves of a box that fits cancel."""
    box = np.float32([[1, 1, 3, 4]])
    _, [gradient] = gradients(lambda x: SIMILARITIES[name](x[0], box), [], [box])
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("name", ["giou", "diou"])
def test_boxes_of_negative_sides_stay_in_range(name):
    values = SIMILARITIES[name](np.float32([[9, 9, 1, 1]]), np.float32([[0, 0, 2, 2]]))
    assert -1 <= float(numpy(values)[0, 0]) <= 1


@pytest.mark.parametrize("name", SIMILARITIES)
def test_known_boxes_beside_those_of_a_model(name):
    anchors = keras.ops.convert_to_tensor(np.ones((3, 4), "float32"))
    assert tuple(SIMILARITIES[name](anchors, keras.Input((5, 4))).shape) == (None, 3, 5)
