import keras
import numpy as np
import pytest

from kdl.layers.blocks.squeeze_excite import SqueezeExcite
from kdl.testing import run_layer_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def numpy_reference(layer, x):
    """The formula, written plainly: one image and one channel at a time."""
    w1, b1, w2, b2 = (to_numpy(w).astype("float64") for w in layer.weights)
    y = np.zeros_like(x)
    for image in range(len(x)):
        z = x[image].mean((0, 1))
        s = np.maximum(z @ w1[0, 0] + b1, 0)
        z = s @ w2[0, 0] + b2
        gate = 1 / (1 + np.exp(-z)) if layer.gate == "sigmoid" else np.clip(z + 3, 0, 6) / 6
        for channel in range(x.shape[-1]):
            y[image, :, :, channel] = x[image, :, :, channel] * gate[channel]
    return y


@pytest.mark.parametrize("arguments", [{"ratio": 3}, {"filters": 7, "gate": "hard_sigmoid"}])
def test_layer(arguments):
    run_layer_test(
        SqueezeExcite,
        arguments,
        (4, 5, 3, 16),
        expected_output_shape=(4, 5, 3, 16),
        reference=numpy_reference,
    )


@pytest.mark.parametrize(("ratio", "reduced"), [(4, 4), (3, 5), (32, 1)])
def test_width_and_biases(ratio, reduced):
    layer = SqueezeExcite(ratio, data_format="channels_last")
    layer.build((None, 4, 4, 16))
    assert layer.reduce.kernel.shape == (1, 1, 16, reduced)
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.standard_normal(tuple(weight.shape)))
    x = rng.standard_normal((2, 4, 4, 16)).astype("float32")
    y = to_numpy(layer(x))
    np.testing.assert_allclose(y, numpy_reference(layer, x), atol=1e-5)


def test_symbolic_call_yields_the_inner_graph():
    layer = SqueezeExcite(4, data_format="channels_last")
    layer.build((None, None, None, 16))
    inputs = keras.Input((None, None, 16))
    model = keras.Model(inputs, layer.call(inputs))
    assert {"pool", "reduce", "relu", "expand"} <= {each.name for each in model.layers}
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 16)).astype("float32")
    results = [to_numpy(f(x)) for f in (model, layer)]
    np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.parametrize("ratio", [0, -4, 2.5, None])
def test_bad_ratio_raises(ratio):
    with pytest.raises(ValueError, match="ratio must be a positive integer; received"):
        SqueezeExcite(ratio)


def test_bad_gate_or_filters_raise():
    with pytest.raises(ValueError, match="gate must be one of 'sigmoid', 'hard_sigmoid'"):
        SqueezeExcite(gate="tanh")
    with pytest.raises(ValueError, match="filters must be a positive integer; received 0"):
        SqueezeExcite(filters=0)


def test_filters_take_the_place_of_the_ratio():
    layer = SqueezeExcite(4, filters=3, data_format="channels_last")
    layer.build((None, 4, 4, 16))
    assert layer.reduce.kernel.shape == (1, 1, 16, 3)


def test_dynamic_width_raises():
    with pytest.raises(ValueError, match="input channels must be known"):
        SqueezeExcite(data_format="channels_last").build((None, 4, 4, None))
