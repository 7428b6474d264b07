import keras
import numpy as np
import pytest

from kdl.layers import BatchNormalization
from kdl.testing import run_layer_test


def copies(channels=8, **arguments):
    """kdl's layer and Keras's with the same weights, none of them at its initial value."""
    rng = np.random.default_rng(0)
    layers = [cls(**arguments) for cls in (BatchNormalization, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.build((4, 5, 6, channels))
    values = [rng.uniform(0.5, 2, w.shape) for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(values)
    return layers


def image(channels=8, mean=3.0):
    return np.float32(np.random.default_rng(1).standard_normal((4, 5, 6, channels)) + mean)


@pytest.mark.parametrize("channels", [7, 8])  # TensorFlow fuses training where 8 divides them
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_statistics_equal_keras(training, channels):
    # The epsilon is large, so that it can't hide in the variance.
    ours, theirs = copies(channels, momentum=0.9, epsilon=0.1)
    x = image(channels)
    y, expected = (keras.ops.convert_to_numpy(f(x, training=training)) for f in (ours, theirs))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for found, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_gradients_equal_keras():
    """One step of plain gradient descent moves the weights of both layers alike."""
    moved = []
    for layer in copies(epsilon=1e-5):
        inputs = keras.Input((5, 6, 8))
        x = keras.layers.Conv2D(8, 1, kernel_initializer="ones")(inputs)
        model = keras.Model(inputs, layer(x))
        model.compile(keras.optimizers.SGD(1.0), "mse")
        model.train_on_batch(image(), image()[::-1])
        moved.append(model.get_weights())
    for found, wanted in zip(*moved, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axis", [-1, 1])
def test_layer(axis):
    run_layer_test(BatchNormalization, {"axis": axis, "epsilon": 1e-4}, (4, 3, 5, 6))


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"scale": False}, (4, 3, 3, 2)),
        ({"center": False}, (4, 3, 2)),
        ({"axis": 1}, (4, 3, 2)),
        ({}, (4, 2, 3, 2, 3)),
        ({"renorm": True}, (4, 5)),
    ],
)
def test_layer_of_other_arguments_and_ranks(arguments, shape):
    run_layer_test(BatchNormalization, arguments, shape)


RANKS = [(64, 3), (16, 5, 3), (8, 4, 4, 3), (8, 4, 4, 8), (4, 3, 4, 2, 3)]


def reference(x, weights=None, epsilon=1e-3):
    """Outputs, mean and variance in float64."""
    axes, x = tuple(range(x.ndim - 1)), x.astype("float64")
    mean = np.average(x, axes, weights)
    variance = np.average((x - mean) ** 2, axes, weights)
    return (x - mean) / np.sqrt(variance + epsilon), mean, variance


@pytest.mark.parametrize("shape", RANKS)
@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"center": False}])
def test_large_mean_keeps_the_variance(shape, arguments):
    x = np.float32(1000 + 0.1 * np.random.default_rng(0).normal(size=shape))
    layer = BatchNormalization(momentum=0.0, **arguments)
    y = keras.ops.convert_to_numpy(layer(x, training=True))
    expected, mean, variance = reference(x)
    np.testing.assert_allclose(y, expected, atol=4e-3)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer.moving_mean), mean, rtol=1e-6)
    found = keras.ops.convert_to_numpy(layer.moving_variance)
    np.testing.assert_allclose(found, variance, rtol=0.02)


@pytest.mark.parametrize("shape", RANKS)
def test_constant_feature_is_zero(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    x[..., 0] = 300.1
    y = keras.ops.convert_to_numpy(BatchNormalization()(x, training=True))
    np.testing.assert_allclose(y, reference(x)[0], atol=1e-2)  # 300.1 is exact to 1e-5 · √1000


def test_mask_with_large_mean_and_padding_of_any_value():
    x = np.float32(1000 + 0.1 * np.random.default_rng(0).normal(size=(4, 6, 3)))
    mask = np.arange(6) < np.array([[6], [2], [3], [1]])
    x[~mask] = np.nan
    layer = BatchNormalization(momentum=0.0)
    y = keras.ops.convert_to_numpy(layer(x, training=True, mask=mask))
    expected, _, variance = reference(x[mask])
    np.testing.assert_allclose(y[mask], expected, atol=4e-3)
    found = keras.ops.convert_to_numpy(layer.moving_variance)
    np.testing.assert_allclose(found, variance, rtol=0.02)


@pytest.mark.parametrize("shape", [(0, 4, 3), (0, 4, 4, 3), (0, 2, 2, 2, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_empty_batch_leaves_the_averages(shape, training):
    layer = BatchNormalization(momentum=0.5)
    layer.build(shape)
    layer.moving_mean.assign(np.full(shape[-1:], 3.0))
    before = layer.get_weights()
    assert tuple(layer(np.zeros(shape, "float32"), training=training).shape) == shape
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_frozen_layer_uses_its_moving_statistics():
    ours, theirs = copies()
    ours.trainable = theirs.trainable = False
    before = ours.get_weights()
    y, expected = (keras.ops.convert_to_numpy(f(image(), training=True)) for f in (ours, theirs))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for kept, now in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_half_precision_keeps_float32_statistics():
    layer = BatchNormalization(momentum=0.0, dtype="mixed_bfloat16")
    x = image(mean=300.0)
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_mean, x.mean((0, 1, 2)), rtol=5e-3)


@pytest.mark.export
def test_exports_folded_into_the_convolution(tmp_path):
    from kdl.deploy import export_tflite, read_tflite

    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    model = keras.Model(inputs, BatchNormalization()(x))
    export_tflite(model, tmp_path / "norm.tflite")
    assert set(read_tflite(tmp_path / "norm.tflite").operations) == {"CONV_2D"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("training", [True, False])
def test_weights_of_low_precision(dtype, training):
    """Under a policy that is not mixed, gamma and the averages are low-precision too."""
    ours, theirs = copies(dtype=dtype)
    x = keras.ops.cast(image(), dtype)
    y, expected = (keras.ops.cast(f(x, training=training), "float32") for f in (ours, theirs))
    y, expected = (keras.ops.convert_to_numpy(v) for v in (y, expected))
    np.testing.assert_allclose(y, expected, atol=0.02 * np.abs(expected).max())
    assert np.isfinite(np.float32(keras.ops.convert_to_numpy(ours.moving_variance))).all()
