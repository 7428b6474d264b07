import warnings

import keras
import numpy as np
import pytest

from kdl.losses import TripletLoss
from kdl.metrics import ActiveTriplets, EmbeddingCollapse


def embeddings(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def definition(batches, unit=1.0, weights=None):
    """The formula, pair by pair."""
    squares, pairs, norms, samples = 0, 0, 0, 0
    for x in batches:
        w = np.ones(len(x)) if weights is None else weights
        for i in range(len(x)):
            norms, samples = norms + w[i] * (x[i] ** 2).sum(), samples + w[i]
            for j in range(len(x)):
                if i != j:
                    squares += w[i] * w[j] * ((x[i] - x[j]) ** 2).sum()
                    pairs += w[i] * w[j]
    return np.sqrt(squares / pairs) / max(np.sqrt(norms / samples), unit)


def test_definition_over_batches():
    batches = [3 + embeddings(9, 4), embeddings(5, 4, seed=1)]
    metric = EmbeddingCollapse()
    assert float(metric.result()) == 0  # and does not warn
    for x in batches:
        metric.update_state(np.zeros(len(x)), x)
    assert float(metric.result()) == pytest.approx(definition(batches), rel=1e-5)
    metric.reset_state()
    weights = np.random.default_rng(2).uniform(0, 2, 9).astype("float32")
    metric.update_state(None, batches[0], sample_weight=weights)
    expected = definition(batches[:1], weights=weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_small_norms_are_measured_by_the_unit():
    x = 0.1 * embeddings(9, 4)
    for unit in (1.0, 0.01):
        metric = EmbeddingCollapse(unit=unit)
        metric.update_state(None, x)
        assert float(metric.result()) == pytest.approx(definition([x], unit), rel=1e-5)


@pytest.mark.parametrize("point", [0, 5, 1e4])
def test_warns_once_of_a_point(point):
    """At the origin too, where all is small and nothing is equal."""
    metric = EmbeddingCollapse(name="spread")
    metric.update_state(None, (point + 1e-3 * embeddings(9, 4)).astype("float32"))
    with pytest.warns(UserWarning, match="spread: the embedding has shrunk to a point"):
        metric.result()
    metric.reset_state()
    metric.update_state(None, np.zeros((9, 4), "float32"))
    assert float(metric.result()) == 0  # no second time: warnings are errors here


def test_single_sample_is_no_collapse():
    metric = EmbeddingCollapse()
    metric.update_state(None, embeddings(1, 4))
    assert float(metric.result()) == 0


def test_warns_in_compiled_training(tmp_path):
    """Where the step has no values, the end of the epoch has."""
    x, y = 0.1 + embeddings(12, 3), np.zeros((12, 2), "float32")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    metric = EmbeddingCollapse()
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=[metric])
    history = model.fit(x, y, batch_size=4, verbose=0).history["embedding_collapse"]
    outputs = model.predict(x, verbose=0)
    # Batches are shuffled, so that the pairs are others each time.
    assert 0.5 * definition([outputs]) < history[0] < 2 * definition([outputs])
    model.save(tmp_path / "model.keras")
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    with pytest.warns(UserWarning, match="embedding_collapse: the embedding has shrunk") as results:
        model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    assert sum("shrunk" in str(one.message) for one in results) == 1
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, y, verbose=0, return_dict=True)["embedding_collapse"] > 0.1
    loaded.set_weights(model.get_weights())
    with pytest.warns(UserWarning, match="shrunk"):
        loaded.evaluate(x, y, verbose=0)
    assert EmbeddingCollapse.from_config(metric.get_config()).get_config() == metric.get_config()


def test_no_warning_of_made_up_numbers():
    """Keras on PyTorch first runs metrics that need values on ones, which are all one point."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", TripletLoss(), metrics=[ActiveTriplets(0.5), EmbeddingCollapse()])
    x, y = embeddings(12, 3), np.arange(12) % 3
    history = model.fit(x, y, batch_size=6, verbose=0).history
    assert history["embedding_collapse"][0] > 0.1


def test_threshold():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = EmbeddingCollapse(threshold=1e-4)
        metric.update_state(None, 5 + 1e-2 * embeddings(9, 4))
        assert 1e-4 < float(metric.result()) < 1e-2


@pytest.mark.parametrize("arguments", [{"threshold": -1}, {"unit": 0}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="threshold must not be negative"):
        EmbeddingCollapse(**arguments)
