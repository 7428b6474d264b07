import keras
import numpy as np
import pytest

from kdl.ops import soft_nms

pytestmark = pytest.mark.every_backend


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def golden(root):
    return np.load(root / "tests" / "golden" / "detection" / "ops_nms.npz")


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_places_and_scores_are_those_of_the_reference(method, golden):
    places, scores = map(numpy, soft_nms(golden["boxes"][:80], golden["scores"][:80], method))
    expected = golden[f"soft_{method}_keep"]
    np.testing.assert_array_equal(places[: len(expected)], expected)
    np.testing.assert_allclose(scores[: len(expected)], golden[f"soft_{method}_scores"], atol=5e-5)
    assert (places[len(expected) :] == -1).all()
    assert (scores[len(expected) :] == -1).all()


def test_padded_rows_images_and_fewer_boxes_than_asked_for():
    boxes = np.float32([[[0, 0, 4, 4], [1, 0, 5, 4], [0, 0, 1, 1]]] * 2)
    scores = np.float32([[0.9, 0.8, -np.inf], [0.1, np.nan, 0.5]])
    places, values = map(numpy, soft_nms(boxes, scores, max_detections=4))
    assert places.tolist() == [[0, 1, -1, -1], [2, 0, -1, -1]]
    np.testing.assert_allclose(values[0], [0.9, 0.32, -1, -1], atol=1e-6)
    np.testing.assert_allclose(values[1], [0.5, 0.1, -1, -1], atol=1e-6)


def test_no_threshold_takes_all_boxes_that_there_are():
    boxes, scores = np.float32([[0, 0, 1, 1], [0, 0, 1, 1]]), np.float32([0.5, -np.inf])
    for least in (None, float("-inf")):
        places, _ = soft_nms(boxes, scores, score_threshold=least, max_detections=3)
        assert numpy(places).tolist() == [0, -1, -1]


def test_no_boxes():
    places, values = soft_nms(np.zeros((2, 0, 4)), np.zeros((2, 0)), max_detections=2)
    assert numpy(places).tolist() == numpy(values).tolist() == [[-1, -1], [-1, -1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "square"}, "method must be one of 'linear', 'gaussian'"),
        ({"score_threshold": float("nan")}, "score_threshold must be a number or None"),
        ({"sigma": 0.0}, "sigma must be positive and finite"),
        ({"iou_threshold": -1}, "iou_threshold must be from 0 to 1"),
        ({"max_detections": 0}, "max_detections must be a positive integer"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        soft_nms(np.ones((3, 4)), np.ones(3), **arguments)
