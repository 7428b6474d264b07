import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdl.ops import depthwise_conv, lowering_scope
from kdl.ops.depthwise import _parts
from kdl.ops.lowering import on_xla_cpu, resolve_lowering
from kdl.testing._gradients import gradients

# Computed by ways of its own on each backend.
pytestmark = pytest.mark.every_backend


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def plain_depthwise(x, kernel, stride, padding, dilation):
    """The definition, written with loops."""
    kh, kw, channels, multiplier = kernel.shape
    spans = [(k - 1) * dilation + 1 for k in (kh, kw)]
    if padding == "same":
        widths = [(0, 0)]
        for size, span in zip(x.shape[1:3], spans, strict=True):
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            widths.append((total // 2, total - total // 2))
        x = np.pad(x, [*widths, (0, 0)])
    rows, columns = [(n - s) // stride + 1 for n, s in zip(x.shape[1:3], spans, strict=True)]
    y = np.zeros((len(x), rows, columns, channels * multiplier))
    for r in range(rows):
        for c in range(columns):
            for i in range(kh):
                for j in range(kw):
                    pixel = x[:, r * stride + i * dilation, c * stride + j * dilation, :, None]
                    y[:, r, c] += (pixel * kernel[i, j]).reshape(len(x), -1)
    return y


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel_size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    multiplier=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid"]),
)
def test_shift_is_the_definition(size, kernel_size, stride, dilation, multiplier, padding):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, 3)).astype("float32")
    kernel = rng.standard_normal((*kernel_size, 3, multiplier)).astype("float32")
    dilation = 1 if stride > 1 else dilation
    y = depthwise_conv(
        x, kernel, (stride, stride), padding, "channels_last", (dilation, dilation), "shift"
    )
    expected = plain_depthwise(x, kernel, stride, padding, dilation)
    np.testing.assert_allclose(to_numpy(y), expected, atol=1e-4)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
def test_native_and_shift_agree(padding, stride):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 8, 4)).astype("float32")
    kernel = rng.standard_normal((3, 3, 4, 1)).astype("float32")
    results = [
        to_numpy(depthwise_conv(x, kernel, (stride, stride), padding, lowering=lowering))
        for lowering in ("native", "shift")
    ]
    np.testing.assert_allclose(*results, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize(("stride", "padding"), [(1, "same"), (2, "same"), (2, "valid")])
def test_gradients_of_shift_are_those_of_the_native_form(batch, stride, padding):
    """On JAX the kernel's is summed over parts of the batch."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 7, 8, 3)).astype("float32")
    kernel = rng.standard_normal((3, 3, 3, 1)).astype("float32")
    outcome = [
        gradients(
            lambda t, how=how: depthwise_conv(*t, stride, padding, lowering=how), [], [x, kernel]
        )[1]
        for how in ("native", "shift")
    ]
    for native, shift in zip(*outcome, strict=True):
        np.testing.assert_allclose(shift, native, atol=1e-4)


def test_parts_of_a_batch():
    image = (56, 56, 144)
    assert _parts((8, *image), 9) == 8  # windows of one image fill the cache
    assert _parts((8, 7, 7, 960), 9) == 2  # never the whole batch
    assert _parts((9, 7, 7, 960), 9) == 3
    assert _parts((7, *image), 9) == 7
    assert _parts((1, *image), 9) == 1


def test_channels_first_shift():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 8, 4)).astype("float32")
    kernel = rng.standard_normal((3, 3, 4, 2)).astype("float32")
    last = depthwise_conv(x, kernel, (2, 2), "same", lowering="shift")
    first = depthwise_conv(
        x.transpose(0, 3, 1, 2), kernel, (2, 2), "same", "channels_first", lowering="shift"
    )
    np.testing.assert_allclose(
        to_numpy(first).transpose(0, 2, 3, 1), to_numpy(last), rtol=1e-6, atol=1e-6
    )


def test_scope_overrides_and_ends():
    with lowering_scope("native"):
        assert resolve_lowering("shift") == "native"
    assert resolve_lowering("shift") == "shift"


@pytest.mark.parametrize("lowering", ["native", "shift"])
def test_other_channels_than_the_kernels(lowering):
    with pytest.raises(ValueError, match="kernel is for 8 channels; received inputs of 4 channels"):
        depthwise_conv(np.zeros((1, 4, 4, 4)), np.zeros((3, 3, 8, 1)), lowering=lowering)


def test_image_smaller_than_the_kernel():
    with pytest.raises(ValueError, match="at least as large as the window, 3×3 pixels"):
        depthwise_conv(np.zeros((1, 2, 4, 1)), np.zeros((3, 3, 1, 1)), lowering="shift")


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_dynamic_shapes(padding):
    """A layer that does not know its output's shape finds it by tracing."""

    class Wrapped(keras.layers.Layer):
        def call(self, x):
            kernel = np.zeros((3, 3, 32, 1), "float32")
            return depthwise_conv(x, kernel, 2, padding)

    for size, out in [(32, 16 if padding == "same" else 15), (None, None)]:
        y = Wrapped()(keras.Input((size, size, 32)))
        assert y.shape == (None, out, out, 32)


def test_unknown_lowering():
    with pytest.raises(ValueError, match="lowering must be one of"):
        depthwise_conv(np.zeros((1, 4, 4, 1)), np.zeros((3, 3, 1, 1)), lowering="fft")


def test_auto_is_shift_on_jax_cpu_only(monkeypatch):
    assert on_xla_cpu() == (keras.backend.backend() == "jax")
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    assert not on_xla_cpu()
