import keras
import pytest
from rounded import check_rounded_kernel

from kdl.layers import QuantizedDense


@pytest.mark.parametrize(
    "arguments",
    [
        {"units": 5},
        {"units": 4, "weight_bits": 4, "activation": "tanh"},
    ],
)
def test_layer(arguments):
    check_rounded_kernel(QuantizedDense, keras.layers.Dense, arguments, (2, 6), axis=None)


def test_bad_bits():
    with pytest.raises(ValueError, match="weight_bits must be an integer from 2 to 8"):
        QuantizedDense(3, weight_bits=9)
