import keras
import numpy as np
import pytest

from kdl.losses import TripletLoss
from kdl.metrics import ActiveTriplets

POINTS = np.array([[0, 0], [1, 0], [0, 2], [3, 0], [3, 1], [2, 2]], "float32")
LABELS = np.array([0, 0, 0, 1, 1, 1])


def data(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 12)
    centers = 2 * np.eye(4, 3)[labels]
    return labels, (centers + 0.7 * rng.standard_normal((12, 3))).astype("float32")


def definition(batches, margin, of="triplets", weights=None):
    """By a loop over all triplets of all batches."""
    active = total = 0
    for labels, x in batches:
        d = np.linalg.norm(x[:, None] - x[None], axis=-1)
        for a in range(len(x)):
            near = [d[a, p] for p in range(len(x)) if labels[p] == labels[a] and p != a]
            far = [d[a, n] for n in range(len(x)) if labels[n] != labels[a]]
            results = [margin + p - n > 0 for p in near for n in far]
            weight = 1 if weights is None else weights[a]
            if of == "anchors":
                results = [any(results)] if results else []
            active, total = active + weight * sum(results), total + weight * len(results)
    return active / total


def test_worked_numbers():
    """The fact sheet counts 8 and 15 of 36 triplets."""
    for margin, count in ((0.3, 8), (1.0, 15)):
        metric = ActiveTriplets(margin)
        metric.update_state(LABELS, POINTS)
        assert float(metric.result()) == pytest.approx(count / 36, rel=1e-6)


@pytest.mark.parametrize("of", ["triplets", "anchors"])
def test_definition_over_batches(of):
    batches = [data(0), data(1)]
    metric = ActiveTriplets(0.2, of=of)
    assert float(metric.result()) == 0
    for labels, x in batches:
        metric.update_state(labels[:, None], x)
    expected = definition(batches, 0.2, of)
    assert 0.1 < expected < 0.9
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)
    metric.reset_state()
    weights = np.random.default_rng(2).uniform(0, 2, 12).astype("float32")
    metric.update_state(*batches[0], sample_weight=weights)
    expected = definition(batches[:1], 0.2, of, weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("of", ["triplets", "anchors"])
def test_degenerate(of):
    for labels in (np.zeros(6, int), np.arange(6)):
        metric = ActiveTriplets(0.5, of)
        metric.update_state(labels, POINTS)
        assert float(metric.result()) == 0
    metric.update_state(LABELS, np.ones_like(POINTS))
    assert float(metric.result()) == 1


def test_distance_and_normalize():
    labels, x = data(3)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    metric = ActiveTriplets(0.5, normalize=True)
    metric.update_state(labels, x)
    assert float(metric.result()) == pytest.approx(definition([(labels, units)], 0.5), rel=1e-6)
    # Of unit vectors the cosine distance is half the squared one.
    squared, cosine = (
        ActiveTriplets(margin, distance=distance, normalize=True)
        for margin, distance in ((0.5, "squared_l2"), (0.25, "cosine"))
    )
    for metric in (squared, cosine):
        metric.update_state(labels, x)
    assert float(squared.result()) == pytest.approx(float(cosine.result()), rel=1e-6)


def test_in_compiled_training(tmp_path):
    labels, x = data(4)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    metric = ActiveTriplets(0.3, of="anchors")
    model.compile("sgd", TripletLoss(margin=0.3), metrics=[metric])
    model.fit(x, labels, batch_size=5, verbose=0)  # with a last batch of fewer samples
    results = model.evaluate(x, labels, verbose=0, return_dict=True)["active_triplets"]
    embeddings = model.predict(x, verbose=0)
    assert results == pytest.approx(definition([(labels, embeddings)], 0.3, "anchors"), rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, labels, verbose=0, return_dict=True)["active_triplets"] == results
    assert ActiveTriplets.from_config(metric.get_config()).get_config() == metric.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": "soft"}, "margin must be a number .* With a soft margin every triplet counts"),
        ({"margin": -1}, "margin must be a number"),
        ({"margin": 1, "of": "pairs"}, "of must be one of"),
        ({"margin": 1, "distance": "l1"}, "distance must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ActiveTriplets(**arguments)


PAIRS = np.float32([[0.0], [1.0], [1.1], [2.1]])


def test_labels_beyond_int32_keep_their_classes():
    metric = ActiveTriplets(margin=2.0)
    metric.update_state(np.array([0, 0, 2**32, 2**32]), PAIRS)
    assert float(metric.result()) == 1.0


@pytest.mark.parametrize(
    "labels", [np.float32([0.1, 0.1, 0.6, 0.6]), np.eye(4, dtype="float32"), np.zeros(3, "int32")]
)
def test_labels_not_integers_raise(labels):
    with pytest.raises(ValueError, match="labels must"):
        ActiveTriplets(margin=1.0).update_state(labels, PAIRS)


@pytest.mark.parametrize("of", ["triplets", "anchors"])
def test_nan_embeddings_give_nan(of):
    metric = ActiveTriplets(margin=1.0, of=of)
    metric.update_state(np.array([0, 0, 1, 1]), PAIRS * np.float32([[1], [1], [np.nan], [1]]))
    assert np.isnan(float(metric.result()))


def test_margin_of_numpy_is_accepted():
    assert type(ActiveTriplets(np.float32(0.5)).get_config()["margin"]) is float
