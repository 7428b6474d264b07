import keras
import numpy as np
import pytest

from kdl.layers import QuantizedConv2DTranspose
from kdl.testing import run_layer_test


def with_rounded_kernel(layer, x):
    """Keras's own layer, its kernel rounded in NumPy."""
    config = {k: v for k, v in layer.get_config().items() if k not in ("weight_bits", "lowering")}
    twin = keras.layers.Conv2DTranspose.from_config(config)
    twin.build(x.shape)
    kernel, *bias = layer.get_weights()
    steps = 2 ** (layer.weight_bits - 1) - 1
    scale = np.abs(kernel).max(axis=None, keepdims=True) / steps
    twin.set_weights([np.round(kernel / scale) * scale, *bias])
    return keras.ops.convert_to_numpy(twin(x))


@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 5, "kernel_size": 2, "strides": 2},
        {"filters": 5, "kernel_size": 3, "padding": "same", "weight_bits": 4},
    ],
)
def test_layer(arguments):
    run_layer_test(
        QuantizedConv2DTranspose,
        {**arguments, "bias_initializer": "random_normal"},
        (2, 4, 5, 3),
        reference=with_rounded_kernel,
        mixed_precision=False,  # another rounding of a weight may be another integer
        atol=1e-4,
    )


def test_bad_bits():
    with pytest.raises(ValueError, match="weight_bits must be an integer from 2 to 8"):
        QuantizedConv2DTranspose(3, 1, weight_bits=9)
