import keras
import pytest
from rounded import check_rounded_kernel

from kdl.layers import QuantizedConv2D


@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 6, "kernel_size": 3, "groups": 2, "padding": "same", "strides": 2},
        {"filters": 5, "kernel_size": 1, "weight_bits": 4, "activation": "relu"},
    ],
)
def test_layer(arguments):
    check_rounded_kernel(
        QuantizedConv2D, keras.layers.Conv2D, arguments, (2, 6, 7, 4), axis=(0, 1, 2)
    )


def test_bad_bits():
    with pytest.raises(ValueError, match="weight_bits must be an integer from 2 to 8"):
        QuantizedConv2D(3, 1, weight_bits=9)
