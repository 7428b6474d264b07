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
    labels, found, positive, valid = (x[0] for x in targets)
    assert positive.tolist() == [True, True, False, False]
    assert valid.tolist() == [True, True, False, True]  # the third lies between the thresholds
    assert labels[:2].tolist() == [5, 3]
    np.testing.assert_array_equal(found[:2], boxes[0, [1, 0]])


@pytest.mark.parametrize("count", [0, 2])
def test_images_without_truth_are_background(count):
    targets = assign_targets(
        Matcher(force="ties"), ANCHORS, np.zeros((1, count, 4)), np.full((1, count), -1)
    )
    labels, boxes, positive, valid = numpy(targets)
    assert not positive.any()
    assert valid.all()
    assert (labels >= 0).all()
    assert np.isfinite(boxes).all()


def test_shapes_that_do_not_fit_raise():
    with pytest.raises(ValueError, match=r"Expected boxes \(batch, G, 4\) and labels"):
        assign_targets(Matcher(), ANCHORS, np.zeros((1, 2, 4)), np.zeros((1, 3)))
