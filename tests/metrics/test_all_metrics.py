"""What every metric of the package does, whoever adds one."""

import keras
import numpy as np
import pytest

import kdl
from kdl.ops import _concrete

SCORES = np.random.default_rng(0).uniform(0.1, 0.9, (2, 4, 3)).astype("float32")
MASKS = np.array([[0, 1, 1, 0], [0, 1, 0, 1]])
TRIPLES = np.array([[0, 1, 0.5], [2, 0, 1.5]], "float32")
WRONG_LABELS = {
    "mean iou": (kdl.metrics.MeanIoU(3, data_format="channels_last"), MASKS * 0.5, SCORES),
    "jaccard": (kdl.metrics.JaccardIndex(3, data_format="channels_last"), MASKS * 0.5, SCORES),
    "jaccard of images": (kdl.metrics.JaccardIndex(1, per_image=True), MASKS * 255, SCORES[..., 0]),
    "jaccard of masks": (kdl.metrics.JaccardIndex(1), MASKS * 255, SCORES[..., 0]),
    "calibration": (kdl.metrics.ExpectedCalibrationError(), MASKS * 3, SCORES),
    "mixup, share": (kdl.metrics.MixupAccuracy(), TRIPLES, SCORES[:, 0]),
    "mixup, number": (kdl.metrics.MixupAccuracy(), TRIPLES * [2, 1, 0.5], SCORES[:, 0]),
    "triplets": (kdl.metrics.ActiveTriplets(1.0), np.array([0.5, 1]), SCORES[:, 0]),
}


@pytest.mark.long_to_compile
@pytest.mark.parametrize("name", WRONG_LABELS)
def test_wrong_labels_raise_or_give_nan_in_compiled_steps(name, monkeypatch):
    metric, y_true, y_pred = WRONG_LABELS[name]
    with pytest.raises(ValueError, match="must"):
        metric.update_state(y_true, y_pred)
    monkeypatch.setattr(_concrete, "_is_traced", lambda tensor: True)  # as in a compiled step
    metric.update_state(y_true, y_pred)
    assert np.isnan(float(keras.ops.convert_to_numpy(metric.result())))


EMPTY = {
    "mean iou": (kdl.metrics.MeanIoU(3, data_format="channels_last"), MASKS, SCORES),
    "jaccard": (kdl.metrics.JaccardIndex(3, data_format="channels_last"), MASKS, SCORES),
    "jaccard of images": (kdl.metrics.JaccardIndex(1, per_image=True), MASKS, SCORES[..., 0]),
    "jaccard of masks": (kdl.metrics.JaccardIndex(1), MASKS, SCORES[..., 0]),
    "jaccard of several": (
        kdl.metrics.JaccardIndex(3, multi_label=True, data_format="channels_last"),
        (SCORES > 0.5).astype("int32"),
        SCORES,
    ),
    "calibration": (kdl.metrics.ExpectedCalibrationError(), MASKS, SCORES),
    "mixup": (kdl.metrics.MixupAccuracy(), TRIPLES * [1, 1, 0.5], SCORES[:, 0]),
    "triplets": (kdl.metrics.ActiveTriplets(1.0), np.array([0, 0]), SCORES[:, 0]),
    "anchors": (kdl.metrics.ActiveTriplets(1.0, of="anchors"), np.array([0, 0]), SCORES[:, 0]),
    "collapse": (kdl.metrics.EmbeddingCollapse(), np.array([0, 0]), SCORES[:, 0]),
}


@pytest.mark.long_to_compile
@pytest.mark.every_backend
@pytest.mark.parametrize("name", EMPTY)
def test_empty_batch_changes_nothing(name):
    metric, y_true, y_pred = EMPTY[name]
    metric.update_state(y_true, y_pred)
    before = float(metric.result())
    metric.update_state(y_true[:0], y_pred[:0])
    assert float(metric.result()) == before
    metric.update_state(y_true[:0], y_pred[:0], sample_weight=np.ones(0, "float32"))
    assert float(metric.result()) == before


def test_one_weight_for_all_samples():
    for metric in (kdl.metrics.EmbeddingCollapse(), kdl.metrics.ActiveTriplets(1.0)):
        batch = (np.array([0, 0, 1, 1]), SCORES.reshape(4, -1))
        results = []
        for weight in (None, 2.0):
            metric.reset_state()
            metric.update_state(*batch, sample_weight=weight)
            results.append(float(metric.result()))
        assert results[0] == pytest.approx(results[1], rel=1e-6)
