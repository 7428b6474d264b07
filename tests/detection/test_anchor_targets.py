import keras
import numpy as np
import pytest

from kdl.detection import Matcher, assign_targets

pytestmark = pytest.mark.every_backend

ANCHORS = np.float32([[0, 0, 4, 4], [9, 9, 13, 13], [0, 0, 4, 7], [20, 20, 24, 24]])


def numpy(targets):
    return [keras.ops.convert_to_numpy(x) for x in targets]


def test_labels_and_boxes_are_those_of_the_matched_truth():
    boxes = np.float32([[[9, 9, 13, 13], [0, 0, 4, 4], [0, 0, 0, 0]]])
    targets = numpy(assign_targets(Matcher(0.8, 0.5), ANCHORS, boxes, np.array([[3, 5, -1]])))
    labels, found, positive, valid, indices = (x[0] for x in targets)
    assert indices[:2].tolist() == [1, 0]
    assert positive.tolist() == [True, True, False, False]
    assert valid.tolist() == [True, True, False, True]  # the third lies between the thresholds
    assert labels[:2].tolist() == [5, 3]
    np.testing.assert_array_equal(found[:2], boxes[0, [1, 0]])


@pytest.mark.parametrize("count", [0, 2])
def test_images_without_truth_are_background(count):
    targets = assign_targets(
        Matcher(force="ties"), ANCHORS, np.zeros((1, count, 4)), np.full((1, count), -1)
    )
    labels, boxes, positive, valid, _ = numpy(targets)
    assert not positive.any()
    assert valid.all()
    assert (labels >= 0).all()
    assert np.isfinite(boxes).all()


def test_anchors_within_a_box_to_ignore_are_left_out():
    boxes = np.float32([[[0, 0, 4, 4], [8, 8, 24, 24]]])
    labels, ignore = np.array([[5, 2]]), np.array([[False, True]])
    targets = assign_targets(Matcher(0.8, 0.5), ANCHORS, boxes, labels, ignore)
    _, _, positive, valid, indices = (x[0] for x in numpy(targets))
    x1, y1, x2, y2 = np.asarray(ANCHORS).T
    covered = np.clip(np.minimum(x2, 24) - np.maximum(x1, 8), 0, None)
    covered = covered * np.clip(np.minimum(y2, 24) - np.maximum(y1, 8), 0, None)
    inside = covered >= 0.5 * (x2 - x1) * (y2 - y1)
    assert inside.any()
    assert not valid[inside & ~positive].any()
    assert not positive[indices == 1].any()


class Assignment(keras.layers.Layer):
    """Compiled, with an open batch."""

    def call(self, boxes, labels):
        targets = assign_targets(Matcher(0.8, 0.5, "bipartite"), ANCHORS, boxes, labels)
        positive, labels = (
            keras.ops.cast(x, "float32") for x in (targets.positive, targets.labels)
        )
        shown = positive + 10 * labels
        return keras.ops.concatenate([shown[..., None], targets.boxes], -1)


def test_compiled_targets_are_the_same_and_padding_is_none():
    boxes = np.float32([[[9, 9, 13, 13], [0, 0, 4, 5], [np.nan] * 4], [[np.nan] * 4] * 3])
    labels = np.array([[3, 5, -1], [-1, -1, -1]])
    inputs = keras.Input((3, 4)), keras.Input((3,), dtype="int32")
    found = keras.Model(inputs, Assignment()(*inputs)).predict([boxes, labels], verbose=0)
    np.testing.assert_array_equal(found, keras.ops.convert_to_numpy(Assignment()(boxes, labels)))
    assert np.isfinite(found).all()
    assert (found[1] == 0).all()


def test_shapes_that_do_not_fit_raise():
    with pytest.raises(ValueError, match=r"Expected boxes \(batch, G, 4\) and labels"):
        assign_targets(Matcher(), ANCHORS, np.zeros((1, 2, 4)), np.zeros((1, 3)))
