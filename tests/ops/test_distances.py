import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdl.ops import pairwise_distances
from kdl.ops.distances import METRICS, paired_distances, unit_rows
from kdl.testing._checks import random_array
from kdl.testing._gradients import gradients

# The fact sheet's six points and their squared distances.
POINTS = [(0, 0), (1, 0), (0, 2), (3, 0), (3, 1), (2, 2)]
SQUARES = [
    [0, 1, 4, 9, 10, 8],
    [1, 0, 5, 4, 5, 5],
    [4, 5, 0, 13, 10, 4],
    [9, 4, 13, 0, 1, 5],
    [10, 5, 10, 1, 0, 2],
    [8, 5, 4, 5, 2, 0],
]


def embeddings(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def definition(x, metric):
    """The formulas, in float64, pair by pair."""
    x = np.asarray(x, "float64")
    results = np.zeros((len(x), len(x)))
    for i, a in enumerate(x):
        for j, b in enumerate(x):
            if metric == "cosine":
                norms = np.linalg.norm(a) * np.linalg.norm(b)
                results[i, j] = 1 - a @ b / norms if norms else float((a != b).any())
            else:
                results[i, j] = np.linalg.norm(a - b) ** (2 if metric == "squared_l2" else 1)
    return results


def numpy(x, metric):
    return keras.ops.convert_to_numpy(pairwise_distances(keras.ops.convert_to_tensor(x), metric))


def gradient(x, metric):
    return gradients(lambda x: pairwise_distances(x, metric), [], x)[1][0]


def test_worked_numbers():
    points = np.array(POINTS, "float32")
    np.testing.assert_allclose(numpy(points, "squared_l2"), SQUARES, atol=1e-5)
    np.testing.assert_allclose(numpy(points, "l2"), np.sqrt(SQUARES), atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_formula(metric):
    x = embeddings(9, 5)
    x[4], x[5], x[6] = 0, 0, x[2]
    expected = definition(x, metric)
    results = numpy(x, metric)
    np.testing.assert_allclose(results, expected, atol=1e-5)
    assert results.dtype == "float32"
    order = [3, 1, 4, 5, 0, 2, 6, 8, 7]
    paired = paired_distances(*map(keras.ops.convert_to_tensor, (x, x[order])), metric)
    np.testing.assert_allclose(paired, expected[np.arange(9), order], atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows(metric):
    """Whatever the size of a matrix product's blocks."""
    for count, dimension in ((9, 5), (67, 129)):
        x = embeddings(count, dimension) + 10
        x[1::2] = x[0]
        results = numpy(x, metric)
        assert (np.diag(results) == 0).all()
        assert (results[1::2, 1::2] == 0).all()
        assert (results[0, 1::2] == 0).all()
    assert not gradient(np.ones((5, 3), "float32"), metric).any()
    assert not gradient(np.zeros((5, 3), "float32"), metric).any()
    assert np.isfinite(gradient(x, metric)).all()


@pytest.mark.parametrize("metric", ["l2", "squared_l2"])
def test_near_rows_far_from_the_origin(metric):
    """Squares of 10⁴ leave nothing of differences of 10⁻²."""
    x = 1e4 + np.round(embeddings(9, 5) * 2**10) / 2**16
    x = x.astype("float32")
    np.testing.assert_allclose(numpy(x, metric), definition(x, metric), rtol=2e-3)
    naive = (x**2).sum(1)[:, None] + (x**2).sum(1) - 2 * x @ x.T
    assert naive.min() < 0


def test_cosine_of_a_narrow_cone():
    x = (1 + 1e-3 * embeddings(9, 5)).astype("float32")
    np.testing.assert_allclose(numpy(x, "cosine"), definition(x, "cosine"), rtol=5e-3, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_gradient(metric):
    """Against central differences in float64."""
    x = embeddings(5, 3)
    weights = random_array((5, 5), seed=1)  # those of `gradients`

    def total(x):
        return (weights * definition(x, metric)).sum()

    expected = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        step = np.zeros(x.shape)
        step[index] = 1e-5
        expected[index] = (total(x + step) - total(x - step)) / 2e-5
    np.testing.assert_allclose(gradient(x, metric), expected, atol=1e-4)


def test_float16():
    x = (300 * embeddings(9, 5)).astype("float16")
    expected = definition(x, "squared_l2")  # beyond what float16 holds
    np.testing.assert_allclose(numpy(x, "squared_l2"), expected, rtol=1e-4, atol=1)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_a_metric(seed, shift, scale):
    """Symmetric, not negative, triangle inequality, moved by no shift, scaled by a scale."""
    x = np.random.default_rng(seed).standard_normal((9, 5)).astype("float32")
    d = numpy(x, "l2")
    np.testing.assert_allclose(d, d.T, atol=1e-5)
    assert d.min() >= 0
    assert (d[:, None] <= d[:, :, None] + d[None] + 1e-4).all()
    np.testing.assert_allclose(numpy(x + np.float32(shift), "l2"), d, atol=1e-3)
    np.testing.assert_allclose(numpy(x * np.float32(scale), "l2"), d * scale, rtol=1e-3, atol=1e-3)
    units = keras.ops.convert_to_numpy(unit_rows(x))
    np.testing.assert_allclose(numpy(units, "squared_l2") / 2, numpy(x, "cosine"), atol=1e-5)


def test_single():
    assert numpy(np.ones((1, 3), "float32"), "l2").tolist() == [[0]]


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"must be one of .* received 'l1'"):
        pairwise_distances(np.ones((2, 2)), "l1")
    with pytest.raises(ValueError, match=r"embeddings must have the shape .* received \(2,\)"):
        pairwise_distances(np.ones(2))
    with pytest.raises(ValueError, match="a row at least"):
        pairwise_distances(np.ones((0, 3)))
