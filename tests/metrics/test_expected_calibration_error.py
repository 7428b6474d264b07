import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdl.metrics import ExpectedCalibrationError

RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.standard_normal((40, 3)).astype("float32")
LABELS = RNG.integers(0, 3, 40)


def softmax(logits):
    exponentials = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return (exponentials / exponentials.sum(-1, keepdims=True)).astype("float32")


def definition(labels, p, bins, weights=None):
    """The formula, one bin at a time: error, and confidence, accuracy and share of the bins."""
    weights = np.ones(len(p)) if weights is None else weights
    confidence, right = p.max(-1), p.argmax(-1) == labels
    error, rows = 0.0, []
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        share = weights[inside].sum() / weights.sum()
        row = (0.0, 0.0)
        if share > 0:
            row = [np.average(x[inside], weights=weights[inside]) for x in (confidence, right)]
        error += share * abs(row[1] - row[0])
        rows.append((*row, share))
    return error, np.array(rows)


def update(metric, *arguments, **options):
    metric.update_state(*arguments, **options)
    return metric


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_formula_over_batches(bins):
    metric = ExpectedCalibrationError(bins)
    p = softmax(LOGITS)
    for part in (slice(0, 15), slice(15, 40)):
        metric.update_state(LABELS[part], p[part])
    error, rows = definition(LABELS, p, bins)
    assert float(metric.result()) == pytest.approx(error, rel=1e-5)
    results = metric.reliability()
    np.testing.assert_allclose(results["confidence"], rows[:, 0], rtol=1e-5)
    np.testing.assert_allclose(results["accuracy"], rows[:, 1], rtol=1e-5)
    np.testing.assert_allclose(results["share"], rows[:, 2], rtol=1e-5)
    np.testing.assert_allclose(results["lower"], np.arange(bins) / bins)
    np.testing.assert_allclose(results["upper"], np.arange(1, bins + 1) / bins)


def test_edges_belong_to_the_bin_below():
    p = np.float32([[0.5, 0.5], [0.75, 0.25], [1, 0]])
    results = update(ExpectedCalibrationError(4), np.zeros(3), p).reliability()
    np.testing.assert_allclose(results["share"], [0, 1 / 3, 1 / 3, 1 / 3])


def test_logits_and_dense_labels():
    expected, _ = definition(LABELS, softmax(LOGITS), 15)
    logits = update(ExpectedCalibrationError(from_logits=True), LABELS[:, None], LOGITS)
    assert float(logits.result()) == pytest.approx(expected, rel=1e-4)
    dense = update(ExpectedCalibrationError(), np.eye(3)[LABELS], softmax(LOGITS))
    assert float(dense.result()) == pytest.approx(expected, rel=1e-5)


def test_pixels_and_float16():
    p = softmax(LOGITS).astype("float16").reshape(2, 4, 5, 3)
    metric = update(ExpectedCalibrationError(), LABELS.reshape(2, 4, 5), p)
    expected, _ = definition(LABELS, p.reshape(-1, 3).astype("float32"), 15)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(40,), (40, 1), (2, 20), (2, 20, 1), (2,)])
def test_sample_weight(shape):
    weights = RNG.uniform(0, 2, shape).astype("float32")
    pixels = shape[0] == 2
    p, labels = softmax(LOGITS), LABELS
    spread = np.broadcast_to(weights.reshape(2, -1), (2, 20)).ravel() if pixels else weights.ravel()
    expected, _ = definition(labels, p, 15, spread)
    if pixels:
        p, labels = p.reshape(2, 20, 3), labels.reshape(2, 20)
    metric = update(ExpectedCalibrationError(), labels, p, sample_weight=weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_result_of_nothing_and_after_reset_is_zero():
    metric = ExpectedCalibrationError(3)
    assert float(metric.result()) == 0
    assert metric.reliability()["share"].tolist() == [0, 0, 0]
    update(metric, LABELS, softmax(LOGITS)).reset_state()
    assert float(metric.result()) == 0
    update(metric, LABELS, softmax(LOGITS), sample_weight=np.zeros(40))
    assert float(metric.result()) == 0


@settings(max_examples=25)
@given(
    arrays("float32", (40, 3), elements=st.floats(-30, 30, width=32)), st.permutations(range(40))
)
def test_order_and_bounds(logits, order):
    p = softmax(logits)
    error = float(update(ExpectedCalibrationError(), LABELS, p).result())
    assert 0 <= error <= 1
    moved = float(update(ExpectedCalibrationError(), LABELS[order], p[order]).result())
    assert error == pytest.approx(moved, abs=1e-5)
    # One bin tells the least that any number of bins can tell.
    least = abs(p.max(-1).mean() - (p.argmax(-1) == LABELS).mean())
    assert error >= least - 1e-5


def test_in_compiled_training_and_config(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "softmax")])
    metric = ExpectedCalibrationError(10)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[metric])
    model.fit(LOGITS, LABELS, batch_size=20, verbose=0)
    results = model.evaluate(LOGITS, LABELS, verbose=0, return_dict=True)
    expected, _ = definition(LABELS, model.predict(LOGITS, verbose=0), 10)
    assert results["expected_calibration_error"] == pytest.approx(expected, rel=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(LOGITS, LABELS, verbose=0, return_dict=True) == results
    again = ExpectedCalibrationError.from_config(metric.get_config())
    assert again.get_config() == metric.get_config()


@pytest.mark.parametrize("bins", [0, 2.0, True, None])
def test_bad_number_of_bins(bins):
    with pytest.raises(ValueError, match="num_bins must be a positive integer"):
        ExpectedCalibrationError(bins)


def test_bad_shapes_and_labels():
    metric = ExpectedCalibrationError()
    with pytest.raises(ValueError, match="2 or more classes"):
        metric.update_state(np.zeros((4, 1)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="y_true must be one label"):
        metric.update_state(np.zeros(3), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="y_true must be whole numbers from 0 to 2"):
        metric.update_state(np.full(4, 3), np.zeros((4, 3)))


def test_millions_of_predictions():
    """One float32 sum of so many loses half of them."""
    metric = ExpectedCalibrationError()
    scores = np.broadcast_to(np.array([0.79, 0.21], "float32"), (2, 2**20, 2))
    metric.update_state(np.zeros(scores.shape[:2], "int32"), scores)
    assert float(metric.result()) == pytest.approx(0.21, abs=1e-4)


@pytest.mark.parametrize("weights", [None, [1.0, 1.0]])
def test_float64_predictions(weights):
    metric = ExpectedCalibrationError()
    metric.update_state(np.array([0, 1]), np.array([[0.75, 0.25], [0.75, 0.25]]), weights)
    assert float(metric.result()) == 0.25


@pytest.mark.parametrize("from_logits", [False, True])
def test_nan_predictions_give_nan(from_logits):
    metric = ExpectedCalibrationError(from_logits=from_logits)
    metric.update_state(np.array([0, 1]), np.float32([[0.75, 0.25], [np.nan, 0.25]]))
    assert np.isnan(float(metric.result()))
