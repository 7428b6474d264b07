import keras
import numpy as np
import pytest

from kdl.data import ArrayDataset, Mixup
from kdl.losses import MixupCrossentropy
from kdl.metrics import MixupAccuracy

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((12, 3)).astype("float32")
LABELS = np.concatenate([RNG.integers(0, 3, (12, 2)), RNG.random((12, 1))], 1).astype("float32")


def definition(labels, scores, weights=None):
    hits = []
    for (first, second, share), row in zip(labels, scores, strict=True):
        results = row.argmax()
        hits.append(share * (results == first) + (1 - share) * (results == second))
    return np.average(hits, weights=weights)


def test_formula_over_batches():
    metric = MixupAccuracy()
    for part in (slice(0, 5), slice(5, 12)):
        metric.update_state(LABELS[part], SCORES[part])
    assert float(metric.result()) == pytest.approx(definition(LABELS, SCORES), rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_sample_weight():
    weights = RNG.random(12).astype("float32")
    metric = MixupAccuracy()
    metric.update_state(LABELS, SCORES, sample_weight=weights)
    assert float(metric.result()) == pytest.approx(definition(LABELS, SCORES, weights), rel=1e-5)


def test_not_mixed_is_plain_accuracy_and_half_counts_half():
    plain = keras.metrics.SparseCategoricalAccuracy()
    plain.update_state(LABELS[:, 0], SCORES)
    triples = LABELS.copy()
    triples[:, 2] = 1
    metric = MixupAccuracy()
    metric.update_state(triples, SCORES)
    assert float(metric.result()) == pytest.approx(float(plain.result()))
    metric.reset_state()
    metric.update_state([[0, 1, 0.5]], [[9.0, 0.0, 0.0]])
    assert float(metric.result()) == 0.5


def test_masks():
    metric = MixupAccuracy()
    metric.update_state(LABELS.reshape(2, 3, 2, 3), SCORES.reshape(2, 3, 2, 3))
    assert float(metric.result()) == pytest.approx(definition(LABELS, SCORES), rel=1e-5)


def test_in_compiled_training_and_config(tmp_path):
    images = RNG.random((12, 2, 2, 1)).astype("float32")
    data = ArrayDataset(images, np.arange(12) % 3, 4, augment=Mixup(alpha=1.0))
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    metric = MixupAccuracy()
    model.compile("sgd", MixupCrossentropy(from_logits=True), metrics=[metric])
    model.fit(data, verbose=0)
    data.epoch = 5
    results = model.evaluate(data, verbose=0, return_dict=True)["mixup_accuracy"]
    data.epoch = 5
    x, y = (np.concatenate(part) for part in zip(*(data[i] for i in range(3)), strict=True))
    expected = definition(y, model.predict(x, verbose=0))
    assert results == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, y, verbose=0, return_dict=True)["mixup_accuracy"] == results
    assert MixupAccuracy.from_config(metric.get_config()).get_config() == metric.get_config()


def test_bad_input():
    metric = MixupAccuracy()
    with pytest.raises(ValueError, match="two labels and the share of the first"):
        metric.update_state(LABELS[:, 0], SCORES)
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        metric.update_state(np.float32([[0, 1, 1.5]]), SCORES[:1])
    with pytest.raises(ValueError, match="y_true must be whole numbers from 0 to 2"):
        metric.update_state(np.float32([[0, 3, 0.5]]), SCORES[:1])
