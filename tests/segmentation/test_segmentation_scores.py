import keras
import numpy as np
import pytest

from kdl.metrics import MeanIoU
from kdl.segmentation import segmentation_scores

NAMES = ["ground", "road", "sky"]


def test_worked_counts():
    labels = np.array([[0, 0, 0, 1], [1, 1, 9, -1]])
    predicted = np.array([[0, 0, 1, 1], [1, 0, 2, 2]])
    scores = segmentation_scores(labels, predicted, NAMES)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["ious"] == {"ground": 2 / 4, "road": 2 / 4}
    assert scores["mean_iou"] == pytest.approx(0.5)


def test_mean_is_that_of_the_metric():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, (2, 5, 6, 7)) % (4, 3, 4, 3, 4, 3, 4)
    predicted %= 3
    metric = MeanIoU(3, sparse_y_pred=True)
    metric.update_state(labels, predicted)
    ours = segmentation_scores(labels, predicted, NAMES)["mean_iou"]
    assert ours == pytest.approx(float(keras.ops.convert_to_numpy(metric.result())), abs=1e-6)


def test_a_class_that_is_only_predicted_counts_as_zero():
    scores = segmentation_scores([0, 0], [0, 2], NAMES)
    assert scores["ious"] == {"ground": 0.5, "sky": 0.0}


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([0, 1], [0], r"of one shape; received \(2,\) and \(1,\)"),
        ([7, 7], [0, 0], "no pixel has any"),
        ([0, 1], [0, 3], r"received 0 … 3"),
    ],
)
def test_bad_arguments(labels, predicted, message):
    with pytest.raises(ValueError, match=message):
        segmentation_scores(labels, predicted, NAMES)
