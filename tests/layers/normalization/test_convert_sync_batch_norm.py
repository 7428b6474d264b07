import keras
import numpy as np
import pytest

import kdl
from kdl.layers import BatchNormalization, SyncBatchNormalization, convert_sync_batch_norm


def norms(layer):
    """All batch norms, however deep."""
    return [x for x in layer._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]


def test_all_norms_of_an_application():
    model = kdl.applications.ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=3)
    weights = model.get_weights()
    assert not any(isinstance(norm, SyncBatchNormalization) for norm in norms(model))
    assert convert_sync_batch_norm(model, axis_name="batch") is model
    found = norms(model)
    assert len(found) == 56
    assert all(type(norm) is SyncBatchNormalization for norm in found)
    assert all(norm.axis_name == "batch" for norm in found)
    for one, other in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_outputs_stay_and_the_model_trains():
    inputs = keras.Input((8, 8, 8))
    x = kdl.layers.InvertedResidual(8)(BatchNormalization()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(x)))
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 8)).astype("float32")
    before = model.predict(x, verbose=0)
    convert_sync_batch_norm(model, axis_name="batch")
    model.compile("sgd", "mse")
    np.testing.assert_allclose(model.predict(x, verbose=0), before, atol=1e-5)
    variances = [keras.ops.convert_to_numpy(norm.moving_variance) for norm in norms(model)]
    model.fit(x, np.zeros((2, 3)), verbose=0)
    assert len(variances) == 4
    for norm, variance in zip(norms(model), variances, strict=True):
        assert np.abs(keras.ops.convert_to_numpy(norm.moving_variance) - variance).min() > 1e-4


def test_saved_and_loaded(tmp_path):
    layers = [keras.layers.BatchNormalization(momentum=0.5), BatchNormalization(epsilon=0.1)]
    model = convert_sync_batch_norm(keras.Sequential([keras.Input((4,)), *layers]))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [type(layer) for layer in loaded.layers] == [SyncBatchNormalization] * 2
    assert loaded.layers[0].momentum == 0.5
    assert loaded.layers[1].epsilon == 0.1


BLOCKS = [
    lambda: kdl.layers.InvertedResidual(8),
    lambda: kdl.layers.ShuffleUnit(24, groups=2, strides=2),
    lambda: kdl.layers.SelfCalibratedBlock(8, 4),
    lambda: kdl.layers.StripPooling(),
]


@pytest.mark.parametrize("make", BLOCKS)
def test_blocks_of_a_functional_model_are_loaded(make, tmp_path):
    inputs = keras.Input((8, 8, 8))
    model = convert_sync_batch_norm(keras.Model(inputs, make()(inputs)), axis_name="batch")
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(rng.uniform(0.5, 1, weight.shape))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert norms(loaded)
    assert all(type(norm) is SyncBatchNormalization for norm in norms(loaded))
    assert {norm.axis_name for norm in norms(loaded)} == {"batch"}
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_it_cannot_be_stays():
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(renorm=True)])
    assert not isinstance(convert_sync_batch_norm(model).layers[0], SyncBatchNormalization)


def test_a_model_of_which_a_part_is_synchronized_is_loaded_as_it_is(tmp_path):
    small = {"input_shape": (32, 32, 3), "classes": 3}
    model = kdl.applications.ResNet((1, 1, 1, 1), 8, **small)
    convert_sync_batch_norm(model.get_layer("stage4_block0"))
    kinds = [type(norm) for norm in norms(model)]
    assert len(set(kinds)) == 2
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [type(norm) for norm in norms(loaded)] == kinds
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
