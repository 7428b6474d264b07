import keras
import numpy as np
import pytest

from kdl.layers import CentralizedConv2D, MovingAverageBatchNormalization
from kdl.testing import run_layer_test

# Two images of two pixels and one channel, as of the worked numbers.
FIRST = np.float32([0, 1, 2, 3]).reshape(2, 1, 2, 1)
UPSTREAM = np.float32([1, -1, 2, 0.5]).reshape(2, 1, 2, 1)


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def step(layer, x, upstream, optimizer=None):
    """Outputs of a training step, its gradient, and those of the trainable weights."""
    x = keras.ops.convert_to_tensor(x)
    weights = layer.trainable_weights
    y, dx, gradients = STEPS[keras.backend.backend()](layer, x, weights, upstream)
    (optimizer or keras.optimizers.SGD(0.0)).apply(gradients, weights)
    return to_numpy(y), to_numpy(dx), dict(zip([w.name for w in weights], gradients, strict=True))


def step_of_torch(layer, x, weights, upstream):
    x = x.detach().clone().requires_grad_()
    y = layer(x, training=True)
    for weight in weights:
        weight.value.grad = None
    y.backward(keras.ops.convert_to_tensor(upstream))
    return y.detach(), x.grad, [w.value.grad for w in weights]


def step_of_tensorflow(layer, x, weights, upstream):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    values = [w.value for w in weights]
    dx, gradients = tape.gradient(y, (x, values), upstream)
    return y, dx, gradients


def step_of_jax(layer, x, weights, upstream):
    import jax

    others = [w.value for w in layer.non_trainable_weights]

    def call(x, values):
        return layer.stateless_call(values, others, x, training=True)

    y, backward, others = jax.vjp(call, x, [w.value for w in weights], has_aux=True)
    for weight, value in zip(layer.non_trainable_weights, others, strict=True):
        weight.assign(value)
    dx, gradients = backward(keras.ops.convert_to_tensor(upstream))
    return y, dx, gradients


STEPS = {"torch": step_of_torch, "tensorflow": step_of_tensorflow, "jax": step_of_jax}


def test_worked_numbers():
    layer = MovingAverageBatchNormalization(buffer_size=2, warmup_steps=0)
    layer.build(FIRST.shape)
    found = [step(layer, FIRST + k, UPSTREAM) for k in (1, 2, 3)]
    average = to_numpy(layer.moving_variance)
    found.append(step(layer, FIRST + 4, UPSTREAM))
    y1, dx1, _ = found[0]
    y3, dx3, _ = found[2]
    _, dx4, gradients = found[3]
    close = {"atol": 2e-6, "rtol": 0}
    np.testing.assert_allclose(y1.ravel(), [0.365148, 0.730296, 1.095444, 1.460592], **close)
    np.testing.assert_allclose(dx1.ravel(), [0.279947, -0.53555, 0.474693, -0.15823], **close)
    np.testing.assert_allclose(y3.ravel(), [0.717137, 0.956183, 1.195228, 1.434274], **close)
    np.testing.assert_allclose(dx3.ravel(), [0.122172, -0.394878, 0.283301, -0.114225], **close)
    np.testing.assert_allclose(dx4.ravel(), [0.086988, -0.328344, 0.22761, -0.090593], **close)
    np.testing.assert_allclose(average, 1.699852, rtol=1e-6)
    np.testing.assert_allclose(to_numpy(layer.moving_variance), 2.195855, rtol=1e-6)
    np.testing.assert_allclose(to_numpy(gradients["gamma"]), 2.816729, rtol=1e-6)


def numpy_steps(layer, batches, upstreams):
    """The formulas, written plainly: outputs and gradients of each step, channel by channel."""
    m, eps, limit = layer.buffer_size, layer.epsilon, layer.max_correction
    average, squares, products, found = 1.0, [], [], []
    for t, (x, dy) in enumerate(zip(batches, upstreams, strict=True), 1):
        x, dy = x.astype("float64"), dy.astype("float64")
        squares.append((x**2).mean((0, 1, 2)))
        full = t > m and t >= layer.warmup_steps
        square = np.mean(squares[-m:], axis=0) if full else squares[-1]
        z = x / np.sqrt(square + eps)
        r = np.clip(np.sqrt((square + eps) / (average + eps)), 1 / limit, limit)
        r = r if t > max(layer.correction_steps, layer.warmup_steps) else np.ones_like(r)
        g = dy * r
        products.append((g * z).mean((0, 1, 2)))
        product = np.mean(products[-m:], axis=0) if full else products[-1]
        average = layer.momentum * average + (1 - layer.momentum) * square
        found.append((r * z, (g - z * product) / np.sqrt(square + eps), average))
    return found


def test_many_steps_with_corrections():
    """Seven batches, whose corrections start with the fourth and are clipped."""
    rng = np.random.default_rng(0)
    shape = (2, 3, 4, 5)
    batches = [rng.normal(0, 1 + t, shape).astype("float32") for t in range(7)]
    upstreams = [rng.standard_normal(shape).astype("float32") for _ in batches]
    layer = MovingAverageBatchNormalization(
        buffer_size=3, warmup_steps=2, correction_steps=3, max_correction=1.5
    )
    layer.build(shape)
    expected = numpy_steps(layer, batches, upstreams)
    for x, dy, (y, dx, average) in zip(batches, upstreams, expected, strict=True):
        found_y, found_dx, _ = step(layer, x, dy)
        np.testing.assert_allclose(found_y, y, atol=1e-5)
        np.testing.assert_allclose(found_dx, dx, atol=1e-5)
        np.testing.assert_allclose(to_numpy(layer.moving_variance), average, rtol=1e-5)


def test_any_optimizer_writes_the_buffer_as_it_is():
    """Neither a learning rate nor clipping nor decay touches the products of the last batches."""
    buffers = []
    for optimizer in (
        keras.optimizers.SGD(0.0),
        keras.optimizers.AdamW(0.5, weight_decay=0.1, global_clipnorm=1e-3),
    ):
        layer = MovingAverageBatchNormalization(buffer_size=4)
        layer.build(FIRST.shape)
        step(layer, FIRST, UPSTREAM, optimizer)
        buffers.append(to_numpy(layer.products))
    assert (buffers[0] != 0).sum() == 1
    np.testing.assert_array_equal(*buffers)


def test_fit_fills_the_buffers():
    inputs = keras.Input((3, 4, 2))
    x = CentralizedConv2D(3, 1, use_bias=False, data_format="channels_last")(inputs)
    x = MovingAverageBatchNormalization(buffer_size=4, name="norm")(x)
    model = keras.Model(inputs, keras.layers.Flatten()(x))
    model.compile(keras.optimizers.Adam(), "mse")
    rng = np.random.default_rng(0)
    data = rng.standard_normal((12, 3, 4, 2)).astype("float32")
    model.fit(data, rng.standard_normal((12, 36)), batch_size=2, epochs=1, verbose=0)
    layer = model.get_layer("norm")
    assert int(layer.step) == 6
    for buffer in (layer.squares, layer.products):
        rows = to_numpy(buffer)
        assert np.isfinite(rows).all()
        assert (np.abs(rows).sum(axis=1) > 0).all()
        assert len(np.unique(rows[:, 0])) == 4


def test_layer():
    run_layer_test(
        MovingAverageBatchNormalization,
        {"buffer_size": 4},
        (4, 3, 5, 2),
        expected_output_shape=(4, 3, 5, 2),
        reference=lambda layer, x: x / np.sqrt(1 + layer.epsilon),
    )


@pytest.mark.parametrize("axis", [1, -1])
def test_axis_and_inference(axis):
    layer = MovingAverageBatchNormalization(axis)
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 4)).astype("float32")
    layer.build(x.shape)
    layer.moving_variance.assign([1.0, 4.0, 9.0, 16.0])
    layer.beta.assign([0.0, 1.0, 2.0, 3.0])
    across = (1, -1, 1, 1) if axis == 1 else (1, 1, 1, -1)
    expected = x / np.arange(1, 5).reshape(across) + np.arange(4).reshape(across)
    np.testing.assert_allclose(to_numpy(layer(x)), expected, atol=1e-4)
    layer.trainable = False
    np.testing.assert_allclose(to_numpy(layer(x, training=True)), expected, atol=1e-4)


@pytest.mark.parametrize("size", [0, -1, 2.0])
def test_bad_buffer_size(size):
    with pytest.raises(ValueError, match="buffer_size must be a positive integer; received"):
        MovingAverageBatchNormalization(buffer_size=size)


def test_open_channels():
    with pytest.raises(ValueError, match="input channels must be known"):
        MovingAverageBatchNormalization().build((None, 4, 4, None))


@pytest.mark.parametrize("training", [True, False])
def test_weights_of_low_precision(training):
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")
    low, full = (MovingAverageBatchNormalization(dtype=dtype) for dtype in ("bfloat16", "float32"))
    y = low(x, training=training)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    expected = to_numpy(full(x, training=training))
    np.testing.assert_allclose(to_numpy(keras.ops.cast(y, "float32")), expected, atol=0.05)


@pytest.mark.export
def test_export():
    run_layer_test(MovingAverageBatchNormalization, {}, (2, 6, 5, 4), deployable=True)


@pytest.mark.parametrize("frequency", [None, 2])
def test_optimizer_with_averages_of_weights(frequency):
    """The buffer is its own average: it ends as without averages, whose weights do not matter."""
    buffers = []
    for use_ema in (True, False):
        norm = MovingAverageBatchNormalization(buffer_size=2, warmup_steps=1)
        model = keras.Sequential([keras.Input((4,)), norm, keras.layers.Dense(1, use_bias=False)])
        model.layers[-1].kernel.assign(np.ones((4, 1)))
        averages = {"use_ema": use_ema, "ema_overwrite_frequency": frequency if use_ema else None}
        model.compile(keras.optimizers.Adam(0.0, **averages), "mse")
        x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
        model.fit(x, np.ones(8), batch_size=2, shuffle=False, verbose=0)
        buffers.append(keras.ops.convert_to_numpy(norm.products))
    assert np.abs(buffers[0]).max() > 0
    np.testing.assert_allclose(*buffers, rtol=1e-5)
