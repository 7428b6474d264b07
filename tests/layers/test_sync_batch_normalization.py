import keras
import numpy as np
import pytest

from kdl.layers import BatchNormalization, SyncBatchNormalization
from kdl.testing import run_layer_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_layer():
    run_layer_test(SyncBatchNormalization, {"momentum": 0.5}, (4, 3, 5, 2))


@pytest.mark.parametrize("shape", [(6, 8), (4, 5, 8), (4, 3, 5, 8)])
def test_one_device_equals_keras(shape):
    ours, keras_own = SyncBatchNormalization(), keras.layers.BatchNormalization()
    rng = np.random.default_rng(0)
    for _ in range(2):
        x = rng.normal(2, 3, shape).astype("float32")
        y, expected = (to_numpy(layer(x, training=True)) for layer in (ours, keras_own))
        np.testing.assert_allclose(y, expected, atol=1e-5)
    for one, other in zip(ours.weights, keras_own.weights, strict=True):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("argument", ["renorm", "synchronized"])
def test_what_it_is_not(argument):
    with pytest.raises(ValueError, match=f"has no {argument}: .* Leave the argument out"):
        SyncBatchNormalization(**{argument: True})


def test_is_folded_like_any_other():
    from kdl.compression import fold_batch_norm

    inputs = keras.Input((5, 5, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, SyncBatchNormalization(name="norm")(x))
    model.get_layer("norm").moving_variance.assign([1.0, 2.0, 3.0, 4.0])
    folded = fold_batch_norm(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    images = np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype("float32")
    np.testing.assert_allclose(to_numpy(folded(images)), to_numpy(model(images)), atol=1e-5)


def test_weights_interchange_with_batch_normalization():
    plain = BatchNormalization()
    plain(np.random.default_rng(0).normal(2, 3, (4, 3)).astype("float32"), training=True)
    twin = SyncBatchNormalization()
    twin.build((None, 3))
    twin.set_weights(plain.get_weights())
    x = np.float32([[1, 2, 3]])
    np.testing.assert_array_equal(to_numpy(twin(x)), to_numpy(plain(x)))
