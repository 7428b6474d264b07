import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdl.ops import conv, lowering_scope
from kdl.ops.convolution import _choose
from kdl.testing._gradients import gradients
from kdl.testing._variants import _runs_convolution

# Computed by ways of its own on each backend.
pytestmark = pytest.mark.every_backend

GEOMETRY = {
    "kernel_size": st.tuples(st.integers(1, 3), st.integers(1, 4)),
    "strides": st.tuples(st.integers(1, 3), st.integers(1, 2)),
    "padding": st.sampled_from(["same", "valid"]),
    "size": st.tuples(st.integers(4, 8), st.integers(4, 8)),
}


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def tensors(size, kernel_size, width=3, filters=5):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, width)).astype("float32")
    return x, rng.standard_normal((*kernel_size, width, filters)).astype("float32")


@settings(max_examples=25)
@given(**GEOMETRY, lowering=st.sampled_from(["auto", "native", "matmul"]))
def test_each_form_is_kerass_convolution(kernel_size, strides, padding, size, lowering):
    x, kernel = tensors(size, kernel_size)
    y = conv(x, kernel, strides, padding, "channels_last", lowering=lowering)
    expected = keras.ops.conv(x, kernel, strides, padding, "channels_last")
    np.testing.assert_allclose(to_numpy(y), to_numpy(expected), atol=1e-4)


@pytest.mark.parametrize("lowering", ["auto", "native", "matmul"])
@pytest.mark.parametrize("strides", [1, 2])
def test_gradients_are_kerass(lowering, strides):
    x, kernel = tensors((6, 7), (3, 3))
    ours = gradients(lambda t: conv(*t, strides, "same", lowering=lowering), [], [x, kernel])
    theirs = gradients(
        lambda t: keras.ops.conv(*t, strides, "same", "channels_last"), [], [x, kernel]
    )
    for results, expected in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(results, expected, atol=1e-3)


@pytest.mark.parametrize("width", [1, 2, 7, 15])
def test_gradient_of_a_narrow_strided_1x1_kernel(width):
    """oneDNN's own, in PyTorch 2.13, is wrong or ends the process."""
    random = np.random.default_rng(width)
    x = random.standard_normal((4, 12, 8, width)).astype("float32")
    kernel = random.standard_normal((1, 1, width, 4)).astype("float32")
    _, [expected] = gradients(lambda k: keras.ops.matmul(x[:, ::2, ::2], k[0, 0]), [], kernel)
    for _ in range(20):
        _, [results] = gradients(lambda k: conv(x, k, 2), [], kernel)
        np.testing.assert_allclose(results, expected, atol=1e-3)


def test_dilation():
    x, kernel = tensors((9, 8), (3, 2))
    forms = [
        to_numpy(conv(x, kernel, padding="same", dilation_rate=2, lowering=lowering))
        for lowering in ("native", "matmul")
    ]
    np.testing.assert_allclose(*forms, atol=1e-4)


def test_channels_first():
    x, kernel = tensors((6, 7), (3, 3))
    last = conv(x, kernel, 2, "same")
    if not _runs_convolution(data_format="channels_first"):
        pytest.skip("TensorFlow has this form for GPUs and for processors its oneDNN is made for")
    first = conv(x.transpose(0, 3, 1, 2), kernel, 2, "same", "channels_first")
    np.testing.assert_allclose(to_numpy(first).transpose(0, 2, 3, 1), to_numpy(last), atol=1e-4)


def test_choice():
    def choose(taps, width, data_format="channels_last", lowering="auto", channels=None):
        x = np.zeros((1, 8, 8, channels or width))
        return _choose(x, np.zeros((taps, taps, width, 4)), data_format, lowering)

    fastest = "matmul" if keras.backend.backend() == "jax" else "native"
    assert choose(1, 400) == choose(3, 3) == fastest
    assert choose(3, 4) == choose(7, 3) == "native"
    assert choose(1, 8, "channels_first", "matmul") == "native"
    assert choose(1, 4, lowering="matmul", channels=8) == "native"  # two groups
    with lowering_scope("device"):
        assert choose(1, 8) == "device"


def test_symbolic_inputs():
    y = conv(keras.KerasTensor((None, 8, 8, 3)), np.zeros((3, 3, 3, 5), "float32"))
    assert y.shape == (None, 6, 6, 5)


def test_unknown_lowering():
    with pytest.raises(ValueError, match="lowering must be one of"):
        conv(*tensors((4, 4), (1, 1)), lowering="fft")
