import keras
import pytest
from rounded import check_rounded_kernel

from kdl.layers import QuantizedDepthwiseConv2D


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3, "padding": "same", "dilation_rate": 2},
        {"kernel_size": 3, "depth_multiplier": 2, "weight_bits": 4, "activation": "relu"},
    ],
)
def test_layer(arguments):
    check_rounded_kernel(
        QuantizedDepthwiseConv2D, keras.layers.DepthwiseConv2D, arguments, (2, 6, 7, 4), axis=(0, 1)
    )


def test_bad_bits():
    with pytest.raises(ValueError, match="weight_bits must be an integer from 2 to 8"):
        QuantizedDepthwiseConv2D(3, weight_bits=9)
