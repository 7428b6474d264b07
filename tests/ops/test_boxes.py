import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kdl.ops import box_area, box_intersection, box_iog, box_iou, decode_boxes, encode_boxes
from kdl.testing._gradients import gradients


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def random_boxes(*shape, seed=0):
    rng = np.random.default_rng(seed)
    low, sides = rng.uniform(0, 10, (*shape, 2)), rng.uniform(0.1, 8, (*shape, 2))
    return np.concatenate([low, low + sides], -1).astype("float32")


def loops(boxes, others, divisor):
    """The definitions, one pair at a time."""
    results = np.zeros((len(boxes), len(others)))
    for i, (a, b, c, d) in enumerate(boxes.astype("float64")):
        for j, (e, f, g, h) in enumerate(others.astype("float64")):
            shared = max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0)
            first, second = (c - a) * (d - b), (g - e) * (h - f)
            results[i, j] = shared / {"": 1, "iou": first + second - shared, "iog": second}[divisor]
    return results


@pytest.mark.parametrize(
    ("function", "divisor"), [(box_intersection, ""), (box_iou, "iou"), (box_iog, "iog")]
)
def test_overlaps_equal_loops_and_batch(function, divisor):
    boxes, others = random_boxes(2, 5), random_boxes(2, 3, seed=1)
    expected = [loops(a, b, divisor) for a, b in zip(boxes, others, strict=True)]
    np.testing.assert_allclose(numpy(function(boxes, others)), expected, rtol=1e-5)
    np.testing.assert_allclose(numpy(function(boxes[0], others[0])), expected[0], rtol=1e-5)
    spread = numpy(function(boxes, others[0]))
    np.testing.assert_allclose(spread[1], loops(boxes[1], others[0], divisor), rtol=1e-5)


def test_worked_overlaps():
    truths = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [10, 10, 11, 11]], "float32")
    priors = np.array([[0, 0, 4, 4], [1, 0, 5, 4], [9, 9, 13, 13], [20, 20, 24, 24]], "float32")
    expected = [[1, 0.6, 0, 0], [0.333333, 0.6, 0, 0], [0, 0, 0.0625, 0]]
    np.testing.assert_allclose(numpy(box_iou(truths, priors)), expected, atol=1e-6)


def test_worked_coding():
    prior = np.array([[0.3, 0.25, 0.6, 0.75]], "float32")  # cxcywh (.45, .5, .3, .5)
    box = np.array([[0.2, 0.3, 0.6, 0.7]], "float32")
    offsets = encode_boxes(box, prior)
    np.testing.assert_allclose(
        numpy(offsets), [[-1.666667, 0, 1.438410, -1.115718]], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(numpy(decode_boxes(offsets, prior)), box, rtol=1e-5)
    plain = numpy(encode_boxes(box, prior, (1, 1, 1, 1)))
    np.testing.assert_allclose(plain, numpy(offsets) * [[0.1, 0.1, 0.2, 0.2]], rtol=1e-5)


def test_coding_equals_keras_own():
    boxes, anchors = random_boxes(2, 6), random_boxes(6, seed=1)
    variances = [0.1, 0.1, 0.2, 0.2]
    theirs = keras.utils.bounding_boxes.encode_box_to_deltas(
        anchors, boxes, "xyxy", "xyxy", "center_xywh", variances
    )
    ours = encode_boxes(boxes, anchors)
    np.testing.assert_allclose(numpy(ours), numpy(theirs), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(numpy(decode_boxes(ours, anchors)), boxes, rtol=1e-4, atol=1e-4)


def test_float16_is_computed_in_float32():
    """The area of this box is beyond float16."""
    box = np.array([[0, 0, 400, 400]], "float16")
    assert numpy(box_area(box)).dtype == "float32"
    assert numpy(box_iou(box, box)) == 1
    assert np.isfinite(numpy(decode_boxes(np.full((1, 4), 6e4, "float16"), box))).all()


EDGES = np.array(
    [
        [0, 0, 10, 10],
        [0, 0, 10, 10],
        [5, 5, 5, 5],
        [8, 8, 2, 2],
        [10, 0, 20, 10],
        [1e9, 1e9, 2e9, 2e9],
        [-1, -1, -1, -1],
    ],
    "float32",
)


@pytest.mark.parametrize("function", [box_intersection, box_iou, box_iog])
def test_edges_are_finite_with_gradients(function):
    results = numpy(function(EDGES, EDGES))
    assert np.isfinite(results).all()
    assert (results[2:4] == 0).all()  # no side and negative sides cover nothing
    assert (results[:, 2:4] == 0).all()
    assert results[0, 4] == 0
    if function is not box_intersection:
        assert results.max() == 1
    for by_input in gradients(lambda pair: function(*pair), [], [EDGES, EDGES[::-1].copy()])[1]:
        assert np.isfinite(by_input).all()


def test_coding_edges_are_finite_with_gradients():
    offsets = np.array([[0, 0, 1e30, -1e30]] * len(EDGES), "float32")
    for function, first in ((encode_boxes, EDGES[::-1].copy()), (decode_boxes, offsets)):
        assert np.isfinite(numpy(function(first, EDGES))).all()
        _, (gradient,) = gradients(lambda x, f=function: f(x, EDGES), [], first)
        assert np.isfinite(gradient).all()


COORDINATES = arrays.arrays("float32", (4, 4), elements=st.integers(-8, 8).map(float))


@settings(max_examples=25)
@given(boxes=COORDINATES, others=COORDINATES, move=st.integers(-5, 5), scale=st.integers(1, 4))
def test_properties(boxes, others, move, scale):
    """On whole numbers the arithmetic is exact, so moved and scaled boxes overlap as before."""
    results = numpy(box_iou(boxes, others))
    assert ((results >= 0) & (results <= 1)).all()
    np.testing.assert_array_equal(results, numpy(box_iou(others, boxes)).T)
    moved = numpy(box_iou(boxes * scale + move, others * scale + move))
    np.testing.assert_array_equal(results, moved)
    shared, area = numpy(box_intersection(boxes, others)), numpy(box_area(others))
    assert (shared <= area).all()
    np.testing.assert_allclose(numpy(box_iog(boxes, others)) * area, shared, atol=1e-4)


@pytest.mark.parametrize("shape", [(3,), (2, 5), ()])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match="boxes must have four numbers in the last axis"):
        box_area(np.zeros(shape))


def test_other_bad_arguments():
    boxes = np.zeros((2, 4), "float32")
    with pytest.raises(ValueError, match="others must have four numbers"):
        box_iou(boxes, boxes[:, :3])
    with pytest.raises(ValueError, match=r"received shapes \(4,\) and \(2, 4\)"):
        box_iou(boxes[0], boxes)
    for variances in ((0.1, 0.2), (0.1, 0.1, 0, 0.2)):
        with pytest.raises(ValueError, match="variances must be four positive numbers"):
            encode_boxes(boxes, boxes, variances)


def test_dtypes_may_differ():
    """NumPy's boxes are float64, a model's float32."""
    boxes, others = np.array([[0.0, 0, 4, 4]]), np.array([[1.0, 0, 5, 4]], "float32")
    assert float(box_iou(boxes, others)[0, 0]) == pytest.approx(0.6)
    offsets = encode_boxes(boxes, others)
    decoded = keras.ops.convert_to_numpy(decode_boxes(offsets, others))
    np.testing.assert_allclose(decoded, boxes, atol=1e-5)


def test_decodes_symbolic_offsets_with_known_anchors():
    decoded = decode_boxes(keras.Input((5, 4)), np.ones((5, 4), "float32"))
    assert tuple(decoded.shape) == (None, 5, 4)


def test_one_image_of_as_many_boxes_as_others():
    """Keras's `add` on TensorFlow would take the areas of the others for a bias of the first."""
    boxes, others = random_boxes(1, 3), random_boxes(1, 3, seed=1)
    expected = [loops(boxes[0], others[0], "iou")]
    np.testing.assert_allclose(numpy(box_iou(boxes, others)), expected, rtol=1e-5)
