import keras
import pytest
from rounded import check_rounded_kernel

from kdl.layers import QuantizedConv2DTranspose


@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 5, "kernel_size": 2, "strides": 2},
        {"filters": 5, "kernel_size": 3, "padding": "same", "weight_bits": 4},
    ],
)
def test_layer(arguments):
    check_rounded_kernel(
        QuantizedConv2DTranspose, keras.layers.Conv2DTranspose, arguments, (2, 4, 5, 3), axis=None
    )


def test_bad_bits():
    with pytest.raises(ValueError, match="weight_bits must be an integer from 2 to 8"):
        QuantizedConv2DTranspose(3, 1, weight_bits=9)
