"""The papers' group, layer and instance norm are uses of Keras's own layer."""

import keras
import numpy as np
import pytest

import kdl.testing


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def images():
    return np.random.default_rng(0).normal(2, 3, (3, 4, 5, 6)).astype("float32")


def normalized(x, axes):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize("groups", [1, 2, 3, 6, -1])
def test_groups_of_channels(groups):
    """Contiguous groups, each normalized over its channels and all pixels of one image."""
    x = images()
    count = 6 if groups == -1 else groups
    apart = x.reshape(3, 4, 5, count, 6 // count)
    expected = normalized(apart.astype("float64"), (1, 2, 4)).reshape(x.shape)
    layer = keras.layers.GroupNormalization(groups, epsilon=1e-5)
    np.testing.assert_allclose(to_numpy(layer(x)), expected, atol=1e-5)


def test_one_group_is_layer_norm_of_the_papers():
    """Over height, width and channels; Keras's LayerNormalization is over channels alone."""
    x = images()
    papers = normalized(x.astype("float64"), (1, 2, 3))
    one = keras.layers.GroupNormalization(1, epsilon=1e-5)
    np.testing.assert_allclose(to_numpy(one(x)), papers, atol=1e-5)
    keras_own = keras.layers.LayerNormalization(epsilon=1e-5)
    assert np.abs(to_numpy(keras_own(x)) - papers).max() > 0.1
    assert one.gamma.shape == (6,)


def test_a_group_a_channel_is_instance_norm():
    x = images()
    expected = normalized(x.astype("float64"), (1, 2))
    for groups in (6, -1):
        layer = keras.layers.GroupNormalization(groups, epsilon=1e-5)
        np.testing.assert_allclose(to_numpy(layer(x)), expected, atol=1e-5)


def test_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="4"):
        keras.layers.GroupNormalization(4)(images())


def test_as_the_layers_of_kdl():
    kdl.testing.run_layer_test(keras.layers.GroupNormalization, {"groups": 2}, (2, 3, 4, 6))
