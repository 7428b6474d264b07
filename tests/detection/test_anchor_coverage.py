import numpy as np
import pytest

from kdl.data import DetectionDataset
from kdl.detection import AnchorGenerator, Matcher, anchor_coverage

ANCHORS = AnchorGenerator(sizes=[(32,)], ratios=(1.0,), strides=[16])(
    image_size=(128, 128), grids=[(8, 8)]
)


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.maximum(high - low, 0).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def random_boxes(count, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 90, (count, 2))
    return np.concatenate([low, low + rng.uniform(4, 60, (count, 2))], 1).astype("float32")


@pytest.mark.every_backend
def test_best_iou_is_that_of_plain_numpy():
    boxes = random_boxes(70)  # more than are computed at once
    coverage = anchor_coverage(boxes, ANCHORS)
    expected = [max(iou(box, anchor) for anchor in ANCHORS) for box in boxes]
    np.testing.assert_allclose(coverage.best_iou, expected, rtol=1e-5)
    np.testing.assert_array_equal(coverage.matched, np.array(expected) >= 0.5)
    assert coverage.share == pytest.approx(np.mean(np.array(expected) >= 0.5))


def test_matched_boxes_are_those_that_the_matcher_finds():
    boxes = random_boxes(30)
    matches = Matcher(0.4)(ANCHORS, boxes[None])
    indices, positive = np.asarray(matches.indices[0]), np.asarray(matches.positive[0])
    coverage = anchor_coverage(boxes, ANCHORS, threshold=0.4)
    # Of two boxes on one anchor the matcher finds the nearer one.
    assert set(indices[positive]) <= set(np.flatnonzero(coverage.matched))
    assert 0 < coverage.matched.sum() < 30


def test_suggested_anchors_match_what_was_missed():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (40, 2))
    sides = np.repeat([[6.0, 7.0], [14.0, 14.0], [60.0, 20.0]], [20, 12, 8], axis=0)
    sides = sides * rng.uniform(0.95, 1.05, (40, 2))
    boxes = np.concatenate([low, low + sides], 1)
    coverage = anchor_coverage(boxes, ANCHORS)
    assert coverage.share == 0
    assert [shape.boxes for shape in coverage.suggestions] == [20, 12, 8]
    sizes = [shape.size for shape in coverage.suggestions]
    ratios = [shape.ratio for shape in coverage.suggestions]
    np.testing.assert_allclose(sizes, np.sqrt([42, 196, 1200]), rtol=0.06)
    np.testing.assert_allclose(ratios, [7 / 6, 1, 1 / 3], rtol=0.15)
    # Anchors of these shapes, one of each upon each box, match them all.
    shapes = np.stack([sizes * np.power(ratios, -0.5), sizes * np.sqrt(ratios)], 1)
    centers = (low + sides / 2)[:, None]
    anchors = np.concatenate([centers - shapes / 2, centers + shapes / 2], -1).reshape(-1, 4)
    assert anchor_coverage(boxes, anchors).share == 1


def test_shares_are_told_by_size():
    boxes = np.array([[0, 0, 10, 10], [16, 16, 48, 48], [0, 0, 40, 40], [0, 0, 120, 120]])
    coverage = anchor_coverage(boxes, ANCHORS)
    assert coverage.by_size == {"small": (1, 0.0), "medium": (2, 1.0), "large": (1, 0.0)}
    assert coverage.share == 0.5
    text = str(coverage)
    assert "2 of 4 boxes (50.0%) have an anchor with an IoU of 0.5 or more." in text
    assert "small: 0.0% of 1" in text
    assert "no anchor: 120 × 120 pixels (width × height) in image 0" in text
    assert "anchors of size 10 and ratio 1.00 (height / width) would match 1 more" in text


def test_padding_and_ignored_boxes_do_not_count():
    targets = {
        "boxes": np.array([[[16, 16, 48, 48], [-1, -1, -1, -1]], [[0, 0, 5, 5], [0, 0, 40, 40]]]),
        "labels": np.array([[0, -1], [3, 1]]),
        "ignore": np.array([[False, False], [True, False]]),
    }
    coverage = anchor_coverage(targets, ANCHORS)
    assert len(coverage.boxes) == 2
    assert coverage.images.tolist() == [0, 1]
    assert coverage.share == 1


@pytest.mark.every_backend
def test_data_set_is_read_as_it_is_served():
    images = np.zeros((3, 64, 64, 3), "uint8")
    targets = {"boxes": np.tile([[[8, 8, 24, 24]]], (3, 1, 1)), "labels": np.zeros((3, 1), int)}
    dataset = DetectionDataset(images, targets, size=128, batch_size=2)
    coverage = anchor_coverage(dataset, ANCHORS)
    np.testing.assert_array_equal(coverage.boxes, [[16, 16, 48, 48]] * 3)
    assert coverage.images.tolist() == [0, 1, 2]
    assert (coverage.share, coverage.suggestions) == (1, [])
    dataset.on_epoch_end()
    assert dataset.epoch == 0
    small = DetectionDataset(images, targets, size=64)
    assert anchor_coverage(small, ANCHORS).share == 0


def test_no_boxes_are_all_covered():
    coverage = anchor_coverage(np.zeros((2, 0, 4)), ANCHORS)
    assert (coverage.share, coverage.suggestions, len(coverage.boxes)) == (1, [], 0)
    assert "0 of 0 boxes" in str(coverage)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"anchors": np.zeros((0, 4))}, "Expected anchors"),
        ({"anchors": np.zeros((2, 2, 4))}, "Expected anchors"),
        ({"data": np.zeros((2, 5))}, "Expected boxes"),
        ({"data": {"boxes": np.zeros((2, 4)), "labels": np.zeros(2)}}, "Expected boxes"),
        ({"threshold": 0}, "threshold"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        anchor_coverage(**{"data": random_boxes(3), "anchors": ANCHORS, **arguments})
