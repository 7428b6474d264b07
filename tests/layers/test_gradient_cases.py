import pathlib
import sys

import keras
import numpy as np
import pytest

from kdl.testing._checks import random_array

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import gradient_cases as cases

# JAX has float64 for whole processes only, and on PyTorch Keras's mean is float32 inside.
DOUBLE = keras.backend.backend() == "tensorflow"
STEP = 1e-5


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("name", cases.CASES)
def test_gradients_are_those_of_every_backend(name):
    """In float32 within 1e-4 of what PyTorch found in float64, as a share of the largest.

    Some gradients are 0, such as that of an offset before a batch norm: there all is rounding.
    """
    golden = np.load(cases.GOLDEN)
    found = cases.found(name, "float32")
    expected = [golden[f"{name}/{i}"] for i in range(len(found))]
    largest = max(np.abs(gradient).max() for gradient in expected)
    for gradient, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, other, rtol=0, atol=1e-4 * largest)


@pytest.mark.skipif(not DOUBLE, reason="float64 all the way, on TensorFlow alone")
@pytest.mark.parametrize("name", cases.CASES)
def test_gradients_are_those_of_finite_differences(name):
    """In float64, along a random direction of each weight and of the input."""
    layer, x = cases.make(name, "float64")
    forward, rng = cases.call(layer), np.random.default_rng(1)

    def total(x):
        y = to_numpy(forward(keras.ops.convert_to_tensor(x)))
        assert y.dtype == "float64"
        return (y * random_array(y.shape, seed=1)).sum()

    *by_weight, by_input = cases.found(name, "float64")
    along = rng.standard_normal(x.shape)
    slope = (total(x + STEP * along) - total(x - STEP * along)) / (2 * STEP)
    assert slope == pytest.approx((along * by_input).sum(), rel=1e-4, abs=1e-6)
    for weight, gradient in zip(layer.trainable_weights, by_weight, strict=True):
        value, along = to_numpy(weight).copy(), rng.standard_normal(tuple(weight.shape))
        ends = []
        for sign in (1, -1):
            weight.assign(value + sign * STEP * along)
            ends.append(total(x))
        weight.assign(value)
        slope = (ends[0] - ends[1]) / (2 * STEP)
        assert slope == pytest.approx((along * gradient).sum(), rel=1e-4, abs=1e-6), weight.path
