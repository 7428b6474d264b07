import keras
import numpy as np
import pytest

from kdl.metrics import JaccardIndex, MeanIoU


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def labels(*shape, high):
    return np.random.default_rng(1).integers(0, high, shape).astype("int32")


def definition(y_true, y_pred, classes, known, weights=1.0):
    """The formula, one class at a time."""
    weights = np.broadcast_to(weights, y_true.shape)
    ious = []
    for item in range(classes):
        results, true = (y_pred == item) & known, (y_true == item) & known
        union = weights[results | true].sum()
        if union > 0:
            ious.append(weights[results & true].sum() / union)
    return np.mean(ious) if ious else 0.0


@pytest.mark.parametrize("void", [255, 6, -1])
def test_formula_over_batches(void):
    """Void may be the number after the classes, or far off; class 5 is nowhere."""
    scores = images(3, 5, 4, 6)
    scores[..., 5] = -9
    true = labels(3, 5, 4, high=5)
    known = images(3, 5, 4) > -0.5
    given = np.where(known, true, void)
    metric = MeanIoU(6, ignore_class=void, data_format="channels_last")
    for part in (slice(0, 1), slice(1, 3)):
        metric.update_state(given[part], scores[part])
    expected = definition(true, scores.argmax(-1), 6, known)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_ignored_class_among_the_classes():
    true, scores = labels(2, 9, high=4), images(2, 9, 4)
    metric = MeanIoU(4, ignore_class=2, data_format="channels_last")
    metric.update_state(true[..., None], scores)
    expected = definition(true, scores.argmax(-1), 4, true != 2)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_channels_first_and_predicted_labels():
    true, scores = labels(2, 5, 4, high=3), images(2, 5, 4, 3)
    expected = definition(true, scores.argmax(-1), 3, np.ones(true.shape, bool))
    metric = MeanIoU(3, data_format="channels_first")
    metric.update_state(true, scores.transpose(0, 3, 1, 2))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    metric = MeanIoU(3, sparse_y_pred=True)
    metric.update_state(true, scores.argmax(-1))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 5, 4), (2, 5, 4, 1)])
def test_sample_weight(shape):
    true, scores = labels(2, 5, 4, high=3), images(2, 5, 4, 3)
    weights = np.random.default_rng(2).uniform(0, 2, shape).astype("float32")
    metric = MeanIoU(3, data_format="channels_last")
    metric.update_state(true, scores, sample_weight=weights)
    spread = weights.reshape(2, *(shape[1:3] if len(shape) > 2 else (1, 1)))
    expected = definition(true, scores.argmax(-1), 3, np.ones(true.shape, bool), spread)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


# Keras's metric asks for int64, which JAX has only as int32.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64")
def test_equals_keras():
    true, scores = labels(2, 5, 4, high=3), images(2, 5, 4, 3)
    metrics = (
        MeanIoU(3, ignore_class=1, data_format="channels_last"),
        keras.metrics.MeanIoU(3, ignore_class=1, sparse_y_pred=False, dtype="int32"),
    )
    for metric in metrics:
        metric.update_state(keras.ops.convert_to_tensor(true), keras.ops.convert_to_tensor(scores))
    assert float(metrics[0].result()) == pytest.approx(float(metrics[1].result()), rel=1e-5)


def test_counts_beyond_what_float32_can_count():
    """17 million pixels in one cell: by ones, float32 stops at 2²⁴."""
    true = np.zeros((1, 17, 1000, 1000), "uint8")
    metric = MeanIoU(2, sparse_y_pred=True)
    metric.update_state(true, true)
    assert float(metric.counts[0, 0]) == 17_000_000


def test_in_compiled_training_and_config(tmp_path):
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    metric = MeanIoU(3, ignore_class=255, data_format="channels_last")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    model.compile("sgd", loss, metrics=[metric])
    x, y = images(6, 4, 4, 2), labels(6, 4, 4, high=3)
    y[0] = 255
    model.fit(x, y, batch_size=3, verbose=0)
    results = model.evaluate(x, y, verbose=0, return_dict=True)["mean_iou"]
    predicted = model.predict(x, verbose=0).argmax(-1)
    assert results == pytest.approx(definition(y, predicted, 3, y != 255), rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, y, verbose=0, return_dict=True)["mean_iou"] == results
    assert MeanIoU.from_config(metric.get_config()).get_config() == metric.get_config()


@pytest.mark.parametrize("classes", [0, 2.0, None])
def test_bad_number_of_classes(classes):
    with pytest.raises(ValueError, match="num_classes must be a positive integer"):
        MeanIoU(classes)


def test_bad_data_format():
    with pytest.raises(ValueError, match="data_format"):
        MeanIoU(2, data_format="channels_middle")


def test_labels_of_another_layout():
    """As many numbers in another order would count without a word."""
    metric = MeanIoU(3, data_format="channels_last")
    scores = np.zeros((2, 3, 4, 3), "float32")
    metric.update_state(np.zeros((2, 3, 4, 1)), scores)
    with pytest.raises(ValueError, match=r"received \(2, 4, 3\) beside \(2, 3, 4\)"):
        metric.update_state(np.zeros((2, 4, 3)), scores)


def test_weights_of_millions_of_pixels():
    metric = MeanIoU(2, sparse_y_pred=True)
    labels = np.zeros((8, 2**20), "int32")
    metric.update_state(labels, labels, sample_weight=np.full(8, 0.3, "float32"))
    counted = float(keras.ops.convert_to_numpy(metric.counts)[0, 0])
    assert counted == pytest.approx(0.3 * labels.size, rel=1e-5)


@pytest.mark.parametrize("label", [0.6, -0.5, np.nan])
def test_fractional_label_raises(label):
    with pytest.raises(ValueError, match="Labels must be whole numbers"):
        MeanIoU(2, sparse_y_pred=True).update_state(np.float32([[label, 1]]), np.array([[0, 1]]))


@pytest.mark.parametrize("label", [2**32, 2**31, -(2**32), 3e9, -np.inf])
def test_label_beyond_int32_is_ignored(label):
    if keras.backend.backend() == "jax" and isinstance(label, int):
        pytest.skip("JAX cuts it before the metric sees it")
    metric = MeanIoU(2, sparse_y_pred=True)
    metric.update_state(np.array([[label, 1]]), np.array([[1, 1]]))
    assert float(metric.result()) == 1.0


@pytest.mark.parametrize(
    "metric",
    [
        MeanIoU(2),
        JaccardIndex(2),
        JaccardIndex(2, per_image=True),
        JaccardIndex(2, multi_label=True),
    ],
)
def test_scores_that_are_not_a_number_give_no_number(metric):
    metric.reset_state()
    labels = np.array([[0, 1, 1, 0]])
    scores = np.eye(2, dtype="float32")[labels]
    truth = np.eye(2)[labels] if getattr(metric, "multi_label", False) else labels
    metric.update_state(truth, scores)
    assert float(metric.result()) == 1.0
    scores[0, 1] = np.nan
    metric.update_state(truth, scores)
    assert np.isnan(float(metric.result()))


@pytest.mark.parametrize("metric", [MeanIoU(2), JaccardIndex(2), JaccardIndex(2, per_image=True)])
def test_scores_of_another_number_of_classes_raise(metric):
    scores = np.eye(3, dtype="float32")[np.array([[0, 2, 1, 2]])]
    with pytest.raises(ValueError, match="score for each of 2 classes"):
        metric.update_state(np.array([[0, 0, 1, 1]]), scores)
