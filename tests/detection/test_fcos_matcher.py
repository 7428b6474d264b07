import keras
import numpy as np
import pytest

from kdl.detection import AnchorGenerator, FCOSMatcher

pytestmark = pytest.mark.every_backend

# Three levels of strides 8, 16 and 32 on an image of 64×64 pixels.
POINTS = AnchorGenerator([(8,), (16,), (32,)], ratios=(1.0,))((64, 64), [(8, 8), (4, 4), (2, 2)])


def matched(boxes, exists=None, anchors=POINTS, **arguments):
    """Dict of the points found as positive → their truth, for one image."""
    boxes = np.array([boxes], "float32").reshape(1, -1, 4)
    exists = None if exists is None else np.array([exists])
    matches = FCOSMatcher(**arguments)(anchors, boxes, exists)
    indices, positive, valid, _ = map(keras.ops.convert_to_numpy, matches)
    assert valid.all()
    return {int(place): int(indices[0, place]) for place in np.flatnonzero(positive[0])}


def plain(boxes, radius=1.5, extents=(4, 8)):
    """The rules, one point and one truth at a time."""
    found = {}
    strides = POINTS[:, 2] - POINTS[:, 0]
    for place, (x1, y1, x2, y2) in enumerate(POINTS):
        stride, x, y = strides[place], (x1 + x2) / 2, (y1 + y2) / 2
        low = 0 if stride == 8 else extents[0] * stride
        high = np.inf if stride == 32 else extents[1] * stride
        smallest = np.inf
        for number, (left, top, right, bottom) in enumerate(boxes):
            sides = (x - left, y - top, right - x, bottom - y)
            off = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2))
            is_near = radius is None or off < radius * stride
            area = (right - left) * (bottom - top)
            if is_near and min(sides) > 0 and low < max(sides) < high and area < smallest:
                found[place], smallest = number, area
    return found


def random_boxes(count, seed):
    rng = np.random.default_rng(seed)
    centers, halves = rng.uniform(5, 59, (count, 2)), rng.uniform(2, 120, (count, 2))
    return np.concatenate([centers - halves, centers + halves], -1)


@pytest.mark.parametrize(
    "arguments", [{}, {"radius": None}, {"radius": 0.7, "extents": (1.0, 2.0)}]
)
def test_points_match_as_the_rules_say(arguments):
    levels = set()
    for seed in range(5):
        boxes = random_boxes(6, seed)
        expected = plain(boxes, **arguments)
        assert matched(boxes, **arguments) == expected
        levels |= {np.searchsorted([64, 80], place, "right") for place in expected}
    assert len(levels) > 1


def test_smallest_truth_wins_whatever_the_order():
    boxes = [[0, 0, 30, 30], [8, 8, 24, 24]]
    assert matched(boxes)[18] == 1
    assert matched(boxes[::-1])[18] == 0


def test_padded_truth_is_found_by_no_point():
    boxes = [[0, 0, 30, 30], [8, 8, 24, 24]]
    assert set(matched(boxes, exists=[True, False]).values()) == {0}
    assert matched(boxes, exists=[False, False]) == {}


def test_image_without_truth_is_background():
    matches = FCOSMatcher()(POINTS, np.zeros((2, 0, 4), "float32"))
    assert not keras.ops.convert_to_numpy(matches.positive).any()
    assert matches.indices.shape == (2, len(POINTS))


def test_single_level_takes_every_size():
    points = POINTS[:64]
    assert matched([[1, 1, 6, 6]], anchors=points) == matched([[1, 1, 6, 6]], radius=None) == {}
    assert len(matched([[-100, -100, 164, 164]], anchors=points)) > 0


def test_anchors_of_each_image_match_by_themselves():
    boxes = np.array([[[0, 0, 30, 30]], [[20, 20, 60, 60]]], "float32")
    once = FCOSMatcher()(POINTS, boxes)
    each = FCOSMatcher()(np.stack([POINTS, POINTS]), boxes)
    for ours, theirs in zip(each, once, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (ours, theirs)))


def test_serialized_matcher_is_read_back():
    matcher = FCOSMatcher(None, (2, 5))
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(matcher))
    assert copy.get_config() == {"radius": None, "extents": (2.0, 5.0)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 0}, "radius must be positive, or None; received 0"),
        ({"extents": (8, 4)}, "extents must be two rising positive numbers"),
        ({"extents": (4,)}, "extents must be two rising positive numbers"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        FCOSMatcher(**arguments)


def test_truth_without_batch_raises():
    with pytest.raises(ValueError, match=r"Expected ground truth \(batch, G, 4\)"):
        FCOSMatcher()(POINTS, np.zeros((3, 4), "float32"))
