import numpy as np
import pytest

from kdl.deploy.exporting.tolerances import TOLERANCES
from kdl.deploy.exporting.verify import compare_outputs


def compare(expected, actual, labels):
    expected, actual = ([np.asarray(y) for y in side] for side in (expected, actual))
    return compare_outputs("m", "int8", expected, actual, np.asarray(labels), TOLERANCES["int8"])


def scores_for(classes, count):
    return np.eye(count)[np.asarray(classes)]


def test_label_maps_give_equal_pixels_and_mean_iou():
    """Labels [0 0 1 1], model alike, file [0 1 1 1]: IoU 1/2 and 2/3 of the two classes."""
    y, z = (scores_for([[[0, 0], [1, 1]]], 2), scores_for([[[0, 1], [1, 1]]], 2))
    result = compare([y], [z], [[[0, 0], [1, 1]]])
    assert result.top1_agreement == 0.75
    assert (result.keras_accuracy, result.tflite_accuracy) == (1, 0.75)
    assert result.keras_mean_iou == 1
    assert result.tflite_mean_iou == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert "equal pixels 75.0%" in str(result)
    assert "mean IoU 1.0000 → 0.5833" in str(result)


@pytest.mark.parametrize("kind", ["logits", "labels", "one channel", "with a last axis"])
def test_label_maps_fit_every_form_of_segmentation(kind):
    labels = np.array([[[0, 1], [1, 255]]])
    found = np.array([[[0, 1], [0, 1]]])
    output = {
        "logits": 5 * scores_for(found, 3) - 2,
        "labels": found,
        "one channel": found[..., None] - 0.4,
        "with a last axis": scores_for(found, 3),
    }[kind]
    labels = labels[..., None] if kind == "with a last axis" else labels
    result = compare([output, np.ones((1, 3))], [output, np.ones((1, 3))], labels)
    assert result.tflite_accuracy == pytest.approx(2 / 3)  # 255 is no class


def test_label_maps_of_another_size_are_refused():
    y = np.zeros((1, 4, 4, 2))
    with pytest.raises(ValueError, match=r"shape \(8, 8\) fit no output.*Resize them"):
        compare([y], [y], np.zeros((1, 8, 8), int))


def test_labels_belong_to_the_one_output_of_scores():
    scores, boxes = scores_for([0, 1, 2, 2], 3), np.random.default_rng(0).random((4, 7, 4))
    result = compare([boxes, scores], [boxes, scores], [0, 1, 1, 2])
    assert result.keras_accuracy == result.tflite_accuracy == 0.75
    assert compare([scores, scores], [scores, scores], [0, 1, 1, 2]).keras_accuracy is None
    classes = scores.argmax(-1)
    assert compare([classes], [classes], [0, 1, 1, 2]).keras_accuracy == 0.75


@pytest.mark.parametrize("labels", [[-1, 3, -1, 7], np.full((4, 2, 2), 255)])
def test_labels_outside_of_all_classes_give_no_accuracy(labels):
    scores = np.ones((*np.shape(labels), 3))
    result = compare([scores], [scores], labels)
    assert (result.keras_accuracy, result.tflite_mean_iou) == (None, None)
    assert "accuracy" not in str(result)


def test_labels_that_a_model_of_integers_never_gives_count_as_wrong():
    result = compare([[0, 0, 0, 0]], [[0, 0, 0, 2]], [0, 2, 2, 2])
    assert (result.keras_accuracy, result.tflite_accuracy) == (0.25, 0.5)


def test_label_maps_with_a_last_axis_are_label_maps():
    """Labels [0 1 1 1], model [0 1 2 4], file [0 1 1 4]: IoU of the classes 0, 1, 2 and 4."""
    y, z = [[[[0], [1]], [[2], [4]]]], [[[[0], [1]], [[1], [4]]]]
    result = compare([y], [z], [[[0, 1], [1, 1]]])
    assert (result.keras_accuracy, result.tflite_accuracy) == (0.5, 0.75)
    assert result.keras_mean_iou == pytest.approx((1 + 1 / 3 + 0 + 0) / 4)
    assert result.tflite_mean_iou == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(("other", "counts"), [(254, 1), (256, 2)])
def test_255_in_label_maps_is_a_class_only_among_larger_ones(other, counts):
    labels, found = [[[other, 255]]], [[[other, 7]]]
    assert compare([found], [found], labels).keras_accuracy == 1 / counts


@pytest.mark.parametrize(("classes", "accuracy"), [(None, 1 / 3), (3, 1 / 2), (300, 1 / 3)])
def test_labels_beyond_the_named_classes_are_left_out(classes, accuracy):
    y, labels = np.array([[[0, 1, 1]]]), np.array([[[0, 2, 200]]])
    tolerances = TOLERANCES["int8"]
    result = compare_outputs("m", "int8", [y], [y], labels, tolerances, classes=classes)
    assert result.keras_accuracy == accuracy


def test_label_maps_of_fractions_are_refused():
    y = np.zeros((1, 2, 2), int)
    with pytest.raises(ValueError, match=r"labels must hold whole numbers.* 0\.5"):
        compare([y], [y], np.full((1, 2, 2), 0.5))
