import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdl.ops import batched_nms, box_iou, nms

pytestmark = pytest.mark.every_backend


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def golden(root):
    return np.load(root / "tests" / "golden" / "detection" / "ops_nms.npz")


def kept(places):
    places = numpy(places)
    return places[places >= 0]


@pytest.mark.parametrize(
    "threshold", [0.5, *(pytest.param(t, marks=pytest.mark.long_to_compile) for t in (0.3, 0.7))]
)
def test_places_are_those_of_torchvision(threshold, golden):
    boxes, scores, classes = (golden[key] for key in ("boxes", "scores", "classes"))
    places = nms(boxes, scores, threshold, max_detections=300)
    np.testing.assert_array_equal(kept(places), golden[f"keep_{threshold}"])
    places = batched_nms(boxes, scores, classes, threshold, max_detections=300)
    np.testing.assert_array_equal(kept(places), golden[f"keep_per_class_{threshold}"])


def test_equal_scores_keep_their_order_and_the_threshold_itself_is_no_overlap(golden):
    places = nms(golden["tie_boxes"], golden["tie_scores"], 0.5)
    np.testing.assert_array_equal(kept(places), golden["tie_keep_0.5"])
    places = nms(golden["boxes"], golden["quantised_scores"], 0.5, max_detections=300)
    np.testing.assert_array_equal(kept(places), golden["quantised_keep_0.5"])


def greedy(boxes, scores, classes, threshold, most):
    """The rule, box after box."""
    iou = numpy(box_iou(boxes, boxes))
    taken = []
    for place in np.argsort(-scores, kind="stable"):
        others = [t for t in taken if classes[t] == classes[place]]
        if np.isfinite(scores[place]) and not (iou[others, place] > threshold).any():
            taken.append(place)
    return [*taken, *[-1] * most][:most]


def scenes(seed, shape):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 30, (*shape, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 15, (*shape, 2))], -1).astype("float32")
    scores = rng.random(shape).round(2).astype("float32")
    scores[rng.random(shape) < 0.1] = -np.inf
    return boxes, scores, rng.integers(0, 3, shape)


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_places_of_random_scenes_are_those_of_the_greedy_rule(seed):
    boxes, scores, classes = scenes(seed, (2, 150))  # more than a block
    places = numpy(batched_nms(boxes, scores, classes, 0.4, max_detections=40))
    expected = [greedy(*scene, 0.4, 40) for scene in zip(boxes, scores, classes, strict=True)]
    np.testing.assert_array_equal(places, expected)


def test_leading_axes_and_padding():
    boxes, scores, _ = scenes(0, (2, 3, 5))
    places = numpy(nms(boxes, scores, max_detections=7))
    assert places.shape == (2, 3, 7)
    assert (places[..., 5:] == -1).all()
    np.testing.assert_array_equal(
        places[1, 2], numpy(nms(boxes[1, 2], scores[1, 2], max_detections=7))
    )


def test_scores_up_to_the_threshold_and_no_numbers_are_dropped():
    boxes = np.float32([[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5], [6, 6, 7, 7]])
    scores = np.float32([0.3, np.nan, 0.5, 0.4])
    places = nms(boxes, scores, score_threshold=0.3, max_detections=3)
    assert numpy(places).tolist() == [2, 3, -1]


def test_no_boxes():
    places = nms(np.zeros((2, 0, 4)), np.zeros((2, 0)), max_detections=2)
    assert numpy(places).tolist() == [[-1, -1], [-1, -1]]


class Suppression(keras.layers.Layer):
    def call(self, boxes, scores):
        return nms(boxes, scores, 0.4, max_detections=30)


def test_layer_of_a_compiled_model():
    boxes, scores, _ = scenes(1, (3, 140))
    inputs = keras.Input((140, 4)), keras.Input((140,))
    model = keras.Model(inputs, Suppression()(*inputs))
    places = model.predict([boxes, scores], verbose=0)
    np.testing.assert_array_equal(places, numpy(nms(boxes, scores, 0.4, max_detections=30)))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="elsewhere sizes are known")
def test_an_unknown_number_of_boxes_raises():
    with pytest.raises(ValueError, match="The number of boxes must be known"):
        Suppression()(keras.Input((None, 4)), keras.Input((None,)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"iou_threshold": 1.5}, "iou_threshold must be from 0 to 1; received 1.5"),
        ({"score_threshold": float("nan")}, "score_threshold must be a number or None"),
        ({"max_detections": 0}, "max_detections must be a positive integer"),
        ({"scores": np.ones((3, 2))}, r"Expected boxes \(…, N, 4\) and scores \(…, N\)"),
        ({"boxes": np.ones((3, 5))}, "boxes must have four numbers"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        nms(**{"boxes": np.ones((3, 4)), "scores": np.ones(3), **arguments})
