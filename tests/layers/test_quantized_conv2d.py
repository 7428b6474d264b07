import keras
import numpy as np
import pytest

from kdl.layers import QuantizedConv2D
from kdl.testing import run_layer_test


def with_rounded_kernel(layer, x):
    """Keras's own layer, its kernel rounded in NumPy."""
    config = {k: v for k, v in layer.get_config().items() if k not in ("weight_bits", "lowering")}
    twin = keras.layers.Conv2D.from_config(config)
    twin.build(x.shape)
    kernel, *bias = layer.get_weights()
    steps = 2 ** (layer.weight_bits - 1) - 1
    scale = np.abs(kernel).max(axis=(0, 1, 2), keepdims=True) / steps
    twin.set_weights([np.round(kernel / scale) * scale, *bias])
    return keras.ops.convert_to_numpy(twin(x))


@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 6, "kernel_size": 3, "groups": 2, "padding": "same", "strides": 2},
        {"filters": 5, "kernel_size": 1, "weight_bits": 4, "activation": "relu"},
    ],
)
def test_layer(arguments):
    run_layer_test(
        QuantizedConv2D,
        {**arguments, "bias_initializer": "random_normal"},
        (2, 6, 7, 4),
        reference=with_rounded_kernel,
        mixed_precision=False,  # another rounding of a weight may be another integer
        atol=1e-4,
    )


def test_bad_bits():
    with pytest.raises(ValueError, match="weight_bits must be an integer from 2 to 8"):
        QuantizedConv2D(3, 1, weight_bits=9)
