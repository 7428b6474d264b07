import keras
import numpy as np
import pytest

from kdl.layers import CentralizedConv2D
from kdl.testing import run_layer_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_equals_a_convolution_by_centred_kernels():
    layer = CentralizedConv2D(5, 3, strides=2, padding="same", data_format="channels_last")
    x = np.random.default_rng(0).normal(1, 2, (2, 7, 6, 4)).astype("float32")
    layer.build(x.shape)
    kernel = np.random.default_rng(1).normal(1, 1, layer.kernel.shape).astype("float32")
    layer.kernel.assign(kernel)
    plain = keras.layers.Conv2D(5, 3, strides=2, padding="same", data_format="channels_last")
    plain.build(x.shape)
    centered = kernel - kernel.reshape(-1, 5).mean(axis=0)
    plain.set_weights([centered, np.zeros(5)])
    np.testing.assert_allclose(to_numpy(layer(x)), to_numpy(plain(x)), atol=1e-4)


def test_layer():
    run_layer_test(CentralizedConv2D, {"filters": 3, "kernel_size": 3}, (2, 6, 5, 4))


def test_survives_flattening():
    """No tool may take it for Keras's convolution, whose kernels are not centered."""
    from kdl.compression import flatten

    inputs = keras.Input((5, 5, 3))
    layer = CentralizedConv2D(4, 3, kernel_initializer="ones", data_format="channels_last")
    model = keras.Model(inputs, layer(inputs))
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype("float32")
    np.testing.assert_allclose(to_numpy(flatten(model)(x)), to_numpy(model(x)), atol=1e-6)
    assert np.abs(to_numpy(model(x))).max() < 1e-5


@pytest.mark.export
def test_export():
    run_layer_test(
        CentralizedConv2D, {"filters": 8, "kernel_size": 3}, (2, 6, 6, 4), deployable=True
    )
