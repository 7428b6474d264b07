import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdl.metrics import JaccardIndex, MeanIoU


def scores(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def labels(*shape, high):
    return np.random.default_rng(1).integers(0, high, shape).astype("int32")


def of_sets(there, results, weights=1.0):
    """The definition; None for two empty sets."""
    weights = np.broadcast_to(weights, there.shape)
    union = weights[there | results].sum()
    return weights[there & results].sum() / union if union else None


def mean(values, empty):
    values = [empty if value is None else value for value in values]
    values = [value for value in values if value is not None]
    return np.mean(values) if values else None


def class_indices(y_true, y_pred, known, classes, weights=1.0):
    return [of_sets((y_true == c) & known, (y_pred == c) & known, weights) for c in range(classes)]


def test_worked_numbers_of_sets():
    """J({1, 2, 3}, {2, 3, 4, 5}) = 0.4; of [1, 0, 1, 0] and [1, 1, 0, 0] 1/3."""
    numbers = np.arange(6)
    metric = JaccardIndex(1)
    true, results = np.isin(numbers, [1, 2, 3]), np.isin(numbers, [2, 3, 4, 5])
    metric.update_state(true[None], results[None] * 1.0)
    assert float(metric.result()) == pytest.approx(0.4)
    metric.reset_state()
    metric.update_state([[1, 1, 0, 0]], [[1.0, 0.0, 1.0, 0.0]])
    assert float(metric.result()) == pytest.approx(1 / 3)


def test_worked_numbers_of_a_confusion():
    counts = np.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]])
    true, results = (
        np.repeat(part, counts.ravel())[None] for part in np.indices((3, 3)).reshape(2, 9)
    )
    metric = JaccardIndex(3, per_class=True, sparse_y_pred=True)
    metric.update_state(true, results)
    expected = {
        "jaccard_index": 0.383333,
        "jaccard_index_0": 0.75,
        "jaccard_index_1": 0.4,
        "jaccard_index_2": 0.0,
    }
    result = {name: float(value) for name, value in metric.result().items()}
    assert result == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("empty", [None, 0.25])
def test_of_the_set_and_of_images(empty):
    """Class 3 is nowhere, class 2 not in the first image; some pixels are void."""
    z, true = scores(3, 4, 5, 4), labels(3, 4, 5, high=3)
    z[..., 3] = -9
    z[0, ..., 2], true[0] = -9, true[0] % 2
    known = scores(3, 4, 5) > -0.5
    given = np.where(known, true, 255)
    results = z.argmax(-1)
    arguments = {"per_class": True, "empty": empty, "ignore_class": 255}

    whole = JaccardIndex(4, data_format="channels_last", **arguments)
    images = JaccardIndex(4, per_image=True, data_format="channels_last", **arguments)
    for part in (slice(0, 1), slice(1, 3)):
        whole.update_state(given[part], z[part])
        images.update_state(given[part], z[part])

    expected = class_indices(true, results, known, 4)
    check(whole.result(), mean(expected, empty), [mean([value], empty) for value in expected])
    expected = [class_indices(true[i], results[i], known[i], 4) for i in range(3)]
    of_images = [mean(values, empty) for values in expected]
    of_classes = [mean(values, empty) for values in zip(*expected, strict=True)]
    check(images.result(), np.mean(of_images), of_classes)


def check(result, total, classes):
    assert float(result["jaccard_index"]) == pytest.approx(total, rel=1e-5)
    for number, value in enumerate(classes):
        expected = np.nan if value is None else value
        results = float(result[f"jaccard_index_{number}"])
        assert results == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_mean_is_that_of_mean_iou():
    z, true = scores(2, 5, 4, 3), labels(2, 5, 4, high=3)
    weights = np.random.default_rng(2).uniform(0, 2, true.shape).astype("float32")
    metrics = [
        cls(3, ignore_class=1, data_format="channels_first") for cls in (JaccardIndex, MeanIoU)
    ]
    for metric in metrics:
        metric.update_state(true[..., None], z.transpose(0, 3, 1, 2), sample_weight=weights)
    assert float(metrics[0].result()) == pytest.approx(float(metrics[1].result()), rel=1e-6)


# Keras's metric asks for int64, which JAX has only as int32.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64")
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 1)])
def test_one_class(shape):
    """The value of Keras's BinaryIoU; with and without an axis of the class."""
    p, true = np.random.default_rng(0).random(shape).astype("float32"), labels(3, 4, 5, high=2)
    p[0, 0, 0] = 0.3  # the threshold itself
    metric = JaccardIndex(1, threshold=0.3)
    metric.update_state(true, p)
    results = p.reshape(true.shape) >= np.float32(0.3)
    assert float(metric.result()) == pytest.approx(of_sets(true == 1, results), rel=1e-6)
    keras_own = keras.metrics.BinaryIoU(target_class_ids=[1], threshold=0.3, dtype="float32")
    keras_own.update_state(keras.ops.convert_to_tensor(true), p.reshape(true.shape))
    assert float(metric.result()) == pytest.approx(float(keras_own.result()), rel=1e-6)


def test_images_without_any_pixel():
    """The first is empty and found so, the second empty and not: 1 and 0 by the convention."""
    p = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], "float32")
    true = np.array([[0, 0], [0, 0], [0, 1]])
    results = []
    for empty in (None, 1):
        metric = JaccardIndex(1, per_image=True, empty=empty)
        metric.update_state(true, p)
        results.append(float(metric.result()))
    assert results == pytest.approx([(0 + 0.5) / 2, (1 + 0 + 0.5) / 3])


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_multi_label(per_image, data_format):
    z, true = scores(2, 4, 5, 3), labels(2, 4, 5, 3, high=2)
    true[..., 2], z[..., 2] = 0, -1
    known = scores(2, 4, 5, 3)[::-1] > -0.5
    weights = np.array([0.5, 2.0], "float32")
    metric = JaccardIndex(
        3,
        multi_label=True,
        threshold=0.0,
        per_image=per_image,
        per_class=True,
        ignore_class=-1,
        data_format=data_format,
    )
    order = (0, 3, 1, 2) if data_format == "channels_first" else (0, 1, 2, 3)
    given = np.where(known, true, -1).transpose(order)
    metric.update_state(given, z.transpose(order), sample_weight=weights)
    there, results = (true == 1) & known, (z >= 0) & known
    if per_image:
        values = [
            [of_sets(there[i, ..., c], results[i, ..., c]) for c in range(3)] for i in range(2)
        ]
        of_classes = [np.average([v[c] for v in values], weights=weights) for c in range(2)]
        total = np.average([np.mean(v[:2]) for v in values], weights=weights)
    else:
        spread = weights[:, None, None]
        of_classes = [of_sets(there[..., c], results[..., c], spread) for c in range(2)]
        total = np.mean(of_classes)
    check(metric.result(), total, [*of_classes, None])


def test_weights_of_pixels():
    z, true = scores(2, 4, 5), labels(2, 4, 5, high=2)
    weights = np.random.default_rng(2).uniform(0, 2, true.shape).astype("float32")
    metric = JaccardIndex(1, threshold=0.0)
    metric.update_state(true, z, sample_weight=weights)
    assert float(metric.result()) == pytest.approx(of_sets(true == 1, z >= 0, weights), rel=1e-5)


def test_weights_of_images():
    z, true = scores(3, 4, 3), labels(3, 4, high=3)
    weights = np.array([[0.5], [0.0], [2.0]], "float32")
    metric = JaccardIndex(3, per_image=True, empty=1, data_format="channels_last")
    metric.update_state(true, z, sample_weight=weights)
    known = np.ones(4, bool)
    values = [mean(class_indices(true[i], z[i].argmax(-1), known, 3), 1) for i in range(3)]
    expected = np.average(values, weights=weights[:, 0])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_result_before_any_batch():
    assert float(JaccardIndex(2).result()) == 0
    assert float(JaccardIndex(1, per_image=True).result()) == 0
    assert float(JaccardIndex(2, empty=1).result()) == 1


@settings(max_examples=25)
@given(
    true=hnp.arrays("int32", (2, 6), elements=st.integers(0, 2)),
    results=hnp.arrays("int32", (2, 6), elements=st.integers(0, 2)),
    order=st.permutations(range(6)),
)
def test_symmetry_order_and_bounds(true, results, order):
    def index(*pair):
        metric = JaccardIndex(3, per_image=True, sparse_y_pred=True)
        metric.update_state(*pair)
        return float(metric.result())

    value = index(true, results)
    assert 0 <= value <= 1
    assert index(results, true) == pytest.approx(value)
    assert index(true[:, order], results[:, order]) == pytest.approx(value)
    assert index(true, true) == 1


@pytest.mark.parametrize("per_image", [False, True])
def test_in_compiled_training_and_config(per_image, tmp_path):
    """The last batch has fewer images."""
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    metric = JaccardIndex(
        3, per_image=per_image, per_class=True, ignore_class=255, data_format="channels_last"
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    model.compile("sgd", loss, metrics=[metric])
    x, y = scores(5, 4, 4, 2), labels(5, 4, 4, high=3)
    y[0, 0] = 255
    history = model.fit(x, y, batch_size=3, verbose=0, validation_data=(x, y)).history
    result = model.evaluate(x, y, batch_size=3, verbose=0, return_dict=True)
    assert history["val_jaccard_index_2"] == [result["jaccard_index_2"]]
    results = model.predict(x, verbose=0).argmax(-1)
    parts = range(5) if per_image else [slice(None)]
    values = [class_indices(y[i], results[i], y[i] != 255, 3) for i in parts]
    expected = np.mean([mean(item, None) for item in values])
    assert result["jaccard_index"] == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = loaded.evaluate(x, y, batch_size=3, verbose=0, return_dict=True)
    assert again == result
    assert JaccardIndex.from_config(metric.get_config()).get_config() == metric.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a positive integer"),
        ({"num_classes": 2.0}, "num_classes must be a positive integer"),
        ({"num_classes": 2, "empty": 2}, r"empty must lie in 0 … 1"),
        ({"num_classes": 2, "data_format": "channels_middle"}, "data_format"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        JaccardIndex(**arguments)


@pytest.mark.parametrize(
    ("arguments", "true", "results", "message"),
    [
        ((3,), (2, 4, 3), (2, 3, 4, 3), r"received \(2, 4, 3\) beside \(2, 3, 4\)"),
        ((1,), (2, 4, 3), (2, 3, 4, 1), r"the same pixels.*received \(2, 4, 3\) beside"),
        ((3, True), (2, 3, 4), (2, 3, 4, 3), "with multi_label the 3 classes"),
        ((4, True), (2, 3, 4, 3), (2, 3, 4, 3), "with multi_label the 4 classes"),
    ],
)
def test_bad_shapes(arguments, true, results, message):
    metric = JaccardIndex(*arguments, data_format="channels_last")
    with pytest.raises(ValueError, match=message):
        metric.update_state(np.zeros(true), np.zeros(results, "float32"))


def test_weights_of_pixels_for_indices_of_images():
    metric = JaccardIndex(1, per_image=True)
    with pytest.raises(ValueError, match="one weight for each image"):
        metric.update_state(np.zeros((2, 3)), np.zeros((2, 3)), sample_weight=np.ones((2, 3)))


@pytest.mark.parametrize("settings", [{}, {"per_image": True}, {"sparse_y_pred": True}])
def test_mask_of_0_and_255_raises(settings):
    metric = JaccardIndex(1, **settings)
    with pytest.raises(ValueError, match="Divide masks of 0 and 255 by 255"):
        metric.update_state(np.array([[255, 0, 255]]), np.array([[1.0, 0.0, 1.0]]))


def test_mask_with_255_as_the_ignored_label():
    metric = JaccardIndex(1, ignore_class=255)
    metric.update_state(np.array([[255, 0, 1]]), np.array([[1.0, 0.0, 1.0]]))
    assert float(metric.result()) == 1.0


@pytest.mark.parametrize("label", [0.6, -0.5, np.nan])
@pytest.mark.parametrize("classes", [1, 2])
def test_fractional_label_raises(label, classes):
    metric = JaccardIndex(classes, sparse_y_pred=True)
    with pytest.raises(ValueError, match="whole numbers"):
        metric.update_state(np.float32([[label, 1]]), np.array([[0, 1]]))
