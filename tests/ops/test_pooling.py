import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdl.ops import average_pool, max_pool
from kdl.testing._gradients import gradients

# Computed by ways of its own on each backend.
pytestmark = pytest.mark.every_backend

FORMS = ["auto", "native", "shift"]


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def image(size=(7, 8)):
    """Whole numbers of a small range, so that windows hold equal pixels."""
    rng = np.random.default_rng(0)
    return rng.integers(-2, 3, (2, *size, 3)).astype("float32")


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(4, 8), st.integers(4, 8)),
    pool_size=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.sampled_from(["same", "valid"]),
    lowering=st.sampled_from(FORMS),
)
def test_each_form_is_kerass_max_pool(size, pool_size, strides, padding, lowering):
    x = image(size) - 5.0  # all below zero: padding must not win
    y = max_pool(x, pool_size, strides, padding, lowering=lowering)
    expected = keras.ops.max_pool(x, pool_size, strides, padding, "channels_last")
    np.testing.assert_array_equal(to_numpy(y), to_numpy(expected))


@pytest.mark.parametrize("lowering", FORMS)
@pytest.mark.parametrize(("window", "strides"), [(3, 2), (2, 2), (3, 1)])
def test_the_first_of_equal_pixels_gets_the_gradient(lowering, window, strides):
    x = image()
    [ours] = gradients(lambda t: max_pool(t[0], window, strides, lowering=lowering), [], [x])[1]
    [theirs] = gradients(
        lambda t: keras.ops.max_pool(t[0], window, strides, "valid", "channels_last"), [], [x]
    )[1]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("at", [(0, 0), (1, 1), (2, 2)])
def test_nan_is_the_maximum_of_its_window(at):
    x = image((3, 3))
    x[0, *at, 0] = np.nan
    y = to_numpy(max_pool(x, 3, 1, lowering="shift"))[:, 0, 0]
    np.testing.assert_array_equal(np.isnan(y), [[True, False, False], [False] * 3])


@pytest.mark.parametrize("lowering", FORMS)
def test_channels_first(lowering):
    x = image()
    last = max_pool(x, 3, 2, "same", lowering=lowering)
    first = max_pool(x.transpose(0, 3, 1, 2), 3, 2, "same", "channels_first", lowering=lowering)
    np.testing.assert_array_equal(to_numpy(first).transpose(0, 2, 3, 1), to_numpy(last))


def test_average_over_the_pixels_that_are_there():
    """Two pixels to the right, one at the border: 3×3 with stride 2 on an even size."""
    x = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    y = to_numpy(average_pool(x, 3, 2, "same"))
    windows = [[x[0, i : i + 3, j : j + 3].mean() for j in (0, 2)] for i in (0, 2)]
    np.testing.assert_allclose(y[0, :, :, 0], windows, rtol=1e-6)
    first = to_numpy(average_pool(x.transpose(0, 3, 1, 2), 3, 2, "same", "channels_first"))
    np.testing.assert_allclose(first[0, 0], windows, rtol=1e-6)


def test_unknown_lowering():
    with pytest.raises(ValueError, match="lowering must be one of"):
        max_pool(image(), 2, 2, lowering="sort")
