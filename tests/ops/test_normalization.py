import keras
import numpy as np
import pytest

from kdl.ops.normalization import moments, normalize

# Computed by ways of its own on each backend.
pytestmark = pytest.mark.every_backend


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("axes", [[0], [0, 1], [0, 2, 3]])
def test_moments_of_a_large_mean(axes):
    shape = [50, 7, 5, 4][: len(axes) + 1]
    x = np.float32(1000 + 0.1 * np.random.default_rng(0).normal(size=shape))
    mean, variance, count = map(to_numpy, moments(keras.ops.convert_to_tensor(x), axes))
    wide = x.astype("float64")
    np.testing.assert_allclose(mean, wide.mean(tuple(axes)), rtol=1e-6)
    np.testing.assert_allclose(variance, wide.var(tuple(axes)), rtol=1e-3)
    np.testing.assert_array_equal(count, x.size // len(mean))


def test_moments_with_weights():
    x, weights = np.float32([[1.0], [3.0], [np.nan]]), np.float32([[3.0], [1.0], [0.0]])
    results = moments(keras.ops.convert_to_tensor(x), [0], weights)
    assert [float(to_numpy(v)[0]) for v in results] == [1.5, 0.75, 4.0]


def test_moments_of_nothing_are_zero():
    results = moments(keras.ops.zeros((0, 2, 3)), [0, 1])
    assert [to_numpy(v).tolist() for v in results] == [[0.0] * 3] * 3


def test_normalize_takes_the_mean_away_first():
    x = np.float32([[1e4 + 0.125], [1e4 - 0.125]])
    mean, variance = np.float32([1e4]), np.float32([0.125**2])
    y = normalize(keras.ops.convert_to_tensor(x), mean, variance, None, np.float32([2.0]), 0.0, -1)
    np.testing.assert_allclose(to_numpy(y), [[3.0], [1.0]], rtol=1e-6)
