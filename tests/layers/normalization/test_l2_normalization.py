import keras
import numpy as np
import pytest

from kdl.layers import L2Normalization
from kdl.testing import run_layer_test


def test_layer():
    run_layer_test(
        L2Normalization,
        {"scale": 3.0, "data_format": "channels_last"},
        input_shape=(2, 4, 3, 5),
        expected_output_shape=(2, 4, 3, 5),
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_outputs_match_the_definition(data_format):
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype("float32")
    x[0, 0, 0] = 0
    norm = np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    layer = L2Normalization(data_format=data_format)
    first = data_format == "channels_first"
    y = keras.ops.convert_to_numpy(layer(x.transpose(0, 3, 1, 2) if first else x))
    y = y.transpose(0, 2, 3, 1) if first else y
    np.testing.assert_allclose(y, 20 * x / norm, rtol=1e-5)
