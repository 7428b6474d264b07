import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kdl
from kdl.ops import fake_quantize, fake_quantize_weights, weight_scales
from kdl.testing._gradients import gradients

# Computed by ways of its own on each backend.
pytestmark = pytest.mark.every_backend


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_worked_numbers():
    """The range is nudged so that zero is one of the values; what is outside is clipped."""
    x = np.array([-1.2, -0.5, 0.0, 0.333, 1.5, 2.0], "float32")
    expected = [-1.0, -0.5, 0.0, 0.333333, 1.5, 1.5]
    np.testing.assert_allclose(to_numpy(fake_quantize(x, -1.0, 1.5)), expected, atol=1e-6)


def test_symmetric_weights():
    kernel = np.array([[-0.8], [-0.3], [0.01], [0.5]], "float32")
    integers = to_numpy(fake_quantize_weights(kernel, axis=None)) / 0.00629921
    np.testing.assert_allclose(integers[:, 0], [-127, -48, 2, 79], atol=1e-3)


def test_each_channel_has_a_scale_of_its_own():
    kernel = np.array([[0.5, -0.02], [-1.0, 0.04]], "float32")
    integers = to_numpy(fake_quantize_weights(kernel)) / [0.007874016, 0.000314961]
    # ±63.5 lies between two integers.
    np.testing.assert_allclose(integers, [[63.5, -63.5], [-127, 127]], atol=0.501)
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-3)
    one_scale = to_numpy(fake_quantize_weights(kernel, axis=None)) / 0.007874016
    np.testing.assert_allclose(one_scale[:, 1], [-3, 5], atol=1e-3)


@settings(max_examples=30)
@given(
    low=st.floats(-50, 0, width=32),
    high=st.floats(0.125, 50, width=32),
    bits=st.integers(2, 8),
    narrow=st.booleans(),
)
def test_is_the_definition(low, high, bits, narrow):
    """Written out in NumPy in double precision, with half a step of room at a tie."""
    x = np.random.default_rng(0).uniform(-60, 60, 200).astype("float32")
    steps = 2**bits - 1 - narrow
    scale = (high - low) / steps
    start = -scale * np.round(-low / scale)
    y = to_numpy(fake_quantize(x, low, high, bits, narrow))
    integers = (y - start) / scale
    tie = np.isclose((-low / scale) % 1, 0.5, atol=1e-3)
    if tie:
        return
    np.testing.assert_allclose(integers, np.round(integers), atol=5e-3)
    inside = np.clip(x, start, start + steps * scale)
    assert np.abs(y - inside).max() <= scale * 0.501
    assert np.any(y == 0) or not np.any(np.abs(inside) < 0.499 * scale)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_equals_keras(axis):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 4, 5)).astype("float32")
    low, high = -rng.random(x.shape[axis]), rng.random(x.shape[axis])
    # Keras's own takes any axis on TensorFlow only.
    keras_own = keras.quantizers.fake_quant_with_min_max_vars(
        np.swapaxes(x, axis, -1), low.astype("float32"), high.astype("float32"), axis=-1
    )
    expected = np.swapaxes(to_numpy(keras_own), axis, -1)
    np.testing.assert_allclose(
        to_numpy(fake_quantize(x, low, high, axis=axis)), expected, atol=1e-6
    )


def test_gradient_is_that_of_the_clip():
    x = keras.Variable(np.array([-2.0, -0.4, 0.3, 1.7], "float32"))
    [gradient], _ = gradients(lambda _: fake_quantize(x, -1.0, 1.0), [x], np.zeros((1, 1)))
    reference, _ = gradients(lambda _: keras.ops.multiply(x, 1.0), [x], np.zeros((1, 1)))
    np.testing.assert_allclose(gradient, reference[0] * [0, 1, 1, 0], atol=1e-6)


def test_gradient_of_weights_is_whole():
    """The largest weight is the end of its range, and moves as the others do."""
    kernel = keras.Variable(np.random.default_rng(2).standard_normal((3, 20_000)).astype("float32"))
    results = [
        gradients(lambda _, f=f: f(kernel), [kernel], np.zeros((1, 1)))[0][0]
        for f in (fake_quantize_weights, lambda k: keras.ops.multiply(k, 1.0))
    ]
    np.testing.assert_allclose(*results, atol=1e-6)


def test_degenerate_ranges():
    x = np.array([-1.0, 0.0, 2.0], "float32")
    np.testing.assert_array_equal(to_numpy(fake_quantize(x, 0.0, 0.0)), 0.0)
    np.testing.assert_array_equal(to_numpy(fake_quantize_weights(np.zeros((2, 2)))), 0.0)
    dead = np.array([[0.0, 1.0], [0.0, -0.5]], "float32")
    assert np.isfinite(to_numpy(fake_quantize_weights(dead))).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats_keep_their_dtype(dtype):
    y = fake_quantize(keras.ops.convert_to_tensor([0.26, 3.0], dtype), -1.0, 1.0)
    assert keras.backend.standardize_dtype(y.dtype) == dtype


@pytest.mark.parametrize("bits", [1, 17, 8.0, True])
def test_bad_bits(bits):
    with pytest.raises(ValueError, match="bits must be an integer from 2 to 16"):
        fake_quantize([1.0], -1.0, 1.0, bits)


def test_halves_go_away_from_the_middle():
    """Integers from -128 to 127 of the range 0 to 255 have their zero at 128."""
    x = np.array([0.0, 0.5, 99.5, 127.5, 128.5, 200.5, 255.0, 99.4, 200.6], "float32")
    up = to_numpy(fake_quantize(x, 0.0, 255.0))
    near_up = to_numpy(fake_quantize(x - np.float32(1e-4), 0.0, 255.0, ties="up"))
    away = to_numpy(fake_quantize(x, 0.0, 255.0, ties="away"))
    np.testing.assert_allclose(up, [0, 1, 100, 128, 129, 201, 255, 99, 201], atol=1e-4)
    np.testing.assert_allclose(near_up, up, atol=1e-4)
    np.testing.assert_allclose(away, [0, 0, 99, 127, 129, 201, 255, 99, 201], atol=1e-4)


def test_averages_of_integers_are_those_of_tflite():
    """Its kernel adds half of the count, with the sign of the sum, and cuts off."""
    rng = np.random.default_rng(4)
    stored = rng.integers(-128, 128, (500, 4))
    total, scale, zero_point = stored.sum(axis=1), 0.037, -31
    expected = np.where(total > 0, (total + 2) // 4, -((2 - total) // 4))
    x = ((stored - zero_point) * np.float32(scale)).mean(axis=1).astype("float32")
    ends = (np.array([-128, 127]) - zero_point) * scale
    results = to_numpy(fake_quantize(x, *ends, ties="away")) / scale + zero_point
    np.testing.assert_allclose(results, expected, atol=1e-3)


def test_gradient_of_what_is_moved_off_halfway_is_whole():
    """At the ends of the range, too: a zero after a ReLU, a saturated image."""
    x = keras.Variable(np.array([0.0, 0.5, 254.5, 255.0], "float32"))
    results = [
        gradients(f, [x], np.zeros((1, 1)))[0][0]
        for f in (
            lambda _: fake_quantize(x, 0.0, 255.0, ties="away"),
            lambda _: keras.ops.multiply(x, 1.0),
        )
    ]
    np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ties": "even"}, "ties must be one of None, 'up', 'away'; received 'even'"),
        ({"ties": "away", "axis": -1}, "ties='away' needs one range"),
    ],
)
def test_bad_ties(arguments, message):
    with pytest.raises(ValueError, match=message):
        fake_quantize([1.0], -1.0, 1.0, **arguments)


@pytest.mark.parametrize(("bits", "axis"), [(8, -1), (8, None), (4, 0)])
def test_weights_are_multiples_of_their_scales(bits, axis):
    kernel = np.random.default_rng(3).standard_normal((5, 6)).astype("float32")
    steps = to_numpy(weight_scales(kernel, bits, axis))
    assert steps.shape == (() if axis is None else (kernel.shape[axis],))
    rounded = to_numpy(fake_quantize_weights(kernel, bits, axis))
    integers = np.swapaxes(rounded, axis, -1) / steps if axis is not None else rounded / steps
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-3)
    assert np.abs(integers).max() == pytest.approx(2 ** (bits - 1) - 1)


def test_gradient_where_zero_moves_the_range_follows_the_moved_ends():
    """−1 … 1.53 has 255 steps of 0.00992157, and zero at the 101st: −1.002078 … 1.527922."""
    x = keras.Variable([-1.003, -1.001, 0.0, 1.527, 1.529])
    [gradient], _ = gradients(lambda _: fake_quantize(x, -1.0, 1.53), [x], np.zeros((1, 1)))
    reference, _ = gradients(lambda _: keras.ops.multiply(x, 1.0), [x], np.zeros((1, 1)))
    np.testing.assert_allclose(gradient, reference[0] * [0, 1, 1, 1, 0], atol=1e-6)


def test_old_name_warns_and_works():
    with pytest.warns(FutureWarning, match="kdl.ops.weight_steps is now kdl.ops.weight_scales"):
        assert kdl.ops.weight_steps is weight_scales
