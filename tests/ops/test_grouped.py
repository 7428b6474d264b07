import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdl.ops import grouped_conv, lowering_scope, mobile_gpu_safe
from kdl.ops.grouped import _choose

# Computed by ways of its own on each backend.
pytestmark = pytest.mark.every_backend


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@settings(max_examples=20)
@given(
    groups=st.sampled_from([2, 3, 6]),
    width=st.sampled_from([1, 2, 3, 17]),
    filters=st.integers(1, 3),
    kernel_size=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid"]),
)
def test_split_is_the_definition(groups, width, filters, kernel_size, stride, padding):
    """Each group is convolved alone."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 5, groups * width)).astype("float32")
    shape = (kernel_size, kernel_size, width, groups * filters)
    kernel = rng.standard_normal(shape).astype("float32")
    y = to_numpy(grouped_conv(x, kernel, stride, padding, lowering="split"))
    for i in range(groups):
        part = x[..., i * width : (i + 1) * width], kernel[..., i * filters : (i + 1) * filters]
        expected = to_numpy(keras.ops.conv(*part, stride, padding, "channels_last"))
        np.testing.assert_allclose(
            y[..., i * filters : (i + 1) * filters], expected, rtol=1e-4, atol=1e-4
        )


def test_native_and_split_agree():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 8, 24)).astype("float32")
    kernel = rng.standard_normal((3, 3, 4, 12)).astype("float32")
    results = [to_numpy(grouped_conv(x, kernel, 2, lowering=how)) for how in ("native", "split")]
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-5)


def test_one_group_is_a_plain_convolution():
    x = np.ones((1, 4, 4, 3), "float32")
    kernel = np.ones((1, 1, 3, 2), "float32")
    np.testing.assert_array_equal(to_numpy(grouped_conv(x, kernel, lowering="split")), 3.0)


def test_choice():
    fastest = "native" if keras.backend.backend() == "torch" else "split"
    assert _choose("auto", 4, 128, 32) == fastest
    assert mobile_gpu_safe(4, 128, 32)
    with lowering_scope("device"):
        assert _choose("auto", 4, 128, 32) == "native"
        for width, filters, groups in [(2, 256, 64), (58, 116, 2), (4, 12, 2)]:
            assert not mobile_gpu_safe(width, filters, groups)
            assert _choose("auto", width, filters, groups) == "split"


@pytest.mark.parametrize("shape", [(1, 1, 3, 4), (1, 1, 2, 3)])
def test_bad_kernel(shape):
    with pytest.raises(ValueError, match="does not fit an input of 4 channels"):
        grouped_conv(np.zeros((1, 4, 4, 4), "float32"), np.zeros(shape, "float32"))
