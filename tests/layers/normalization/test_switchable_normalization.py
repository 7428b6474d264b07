import pathlib

import keras
import numpy as np
import pytest

from kdl.layers import SwitchableNormalization
from kdl.testing import run_layer_test

# Worked numbers of channels before pixels: `(2, 2, 1, 2)`.
WORKED = np.float32([[[[1, 3]], [[2, 6]]], [[[0, 4]], [[5, 5]]]])
BIASED = [[[-0.87287, 0.43643], [-1.01695, 1.20185]], [[-1.32067, 0.7924], [0.45291, 0.45291]]]
UNBIASED = [[[-0.64051, 0.32026], [-0.74331, 0.87846]], [[-0.98693, 0.59216], [0.35635, 0.35635]]]


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def numpy_reference(layer, x, training=False):
    """The formula, written plainly: one image and one channel at a time."""
    logits = (layer.mean_logits, layer.variance_logits)
    w, v = ([1.0] if z is None else softmax(to_numpy(z).astype("float64")) for z in logits)
    gamma, beta = to_numpy(layer.gamma), to_numpy(layer.beta)
    x = x.astype("float64")
    pixels = tuple(range(1, x.ndim - 1))
    y = np.zeros_like(x)
    for n in range(len(x)):
        for c in range(x.shape[-1]):
            one = x[n, ..., c]
            found = [(one.mean(), one.var())] if pixels else []
            found.append((x[n].mean(), x[n].var()))
            if layer.use_batch_norm and training:
                found.append((x[..., c].mean(), x[..., c].var()))
            elif layer.use_batch_norm:
                found.append((to_numpy(layer.moving_mean)[c], to_numpy(layer.moving_variance)[c]))
            mean = sum(a * m for a, (m, _) in zip(w, found, strict=True))
            variance = sum(a * s for a, (_, s) in zip(v, found, strict=True))
            y[n, ..., c] = gamma[c] * (one - mean) / np.sqrt(variance + layer.epsilon) + beta[c]
    return y


@pytest.mark.parametrize(("unbiased", "expected"), [(False, BIASED), (True, UNBIASED)])
def test_worked_numbers(unbiased, expected):
    layer = SwitchableNormalization(axis=1, unbiased=unbiased)
    y = to_numpy(layer(WORKED, training=True))
    np.testing.assert_allclose(y[:, :, 0], expected, atol=1e-5)


def test_golden():
    """Three training steps and one inference of the official code, with the unbiased variance."""
    golden = np.load(pathlib.Path(__file__).parents[2] / "golden" / "switchable_norm.npz")
    layer = SwitchableNormalization(unbiased=True)
    layer.build(golden["x0"].shape)
    for weight, name in (
        (layer.gamma, "gamma"),
        (layer.beta, "beta"),
        (layer.mean_logits, "mean_logits_in_ln_bn"),
        (layer.variance_logits, "var_logits_in_ln_bn"),
    ):
        weight.assign(golden[name])
    for step in range(3):
        y = to_numpy(layer(golden[f"x{step}"], training=True))
        np.testing.assert_allclose(y, golden[f"y{step}"], atol=1e-5)
    np.testing.assert_allclose(to_numpy(layer.moving_mean), golden["running_mean"], atol=1e-6)
    np.testing.assert_allclose(to_numpy(layer.moving_variance), golden["running_var"], rtol=1e-5)
    y = to_numpy(layer(golden["x0"], training=False))
    np.testing.assert_allclose(y, golden["y_eval"], atol=1e-5)


@pytest.mark.parametrize("use_batch_norm", [True, False])
@pytest.mark.parametrize("shape", [(6, 5), (4, 7, 5), (3, 4, 6, 5), (2, 3, 4, 2, 5)])
def test_layer(shape, use_batch_norm):
    run_layer_test(
        SwitchableNormalization,
        {"use_batch_norm": use_batch_norm},
        shape,
        expected_output_shape=shape,
        reference=numpy_reference,
    )


@pytest.mark.parametrize("shape", [(6, 5), (4, 7, 5), (3, 4, 6, 5), (2, 3, 4, 2, 5)])
def test_training_in_all_ranks(shape):
    rng = np.random.default_rng(0)
    layer = SwitchableNormalization()
    layer.build(shape)
    for weight in (layer.gamma, layer.beta, layer.mean_logits, layer.variance_logits):
        weight.assign(rng.standard_normal(tuple(weight.shape)))
    x = rng.normal(1, 2, shape).astype("float32")
    y = to_numpy(layer(x, training=True))
    np.testing.assert_allclose(y, numpy_reference(layer, x, training=True), atol=2e-5)


def test_axis():
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 6)).astype("float32")
    last = to_numpy(SwitchableNormalization()(x, training=True))
    first = to_numpy(SwitchableNormalization(axis=1)(x.transpose(0, 3, 1, 2), training=True))
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), last, atol=1e-6)


def test_one_image_without_batch_norm_is_instance_and_layer_norm():
    """With one number far above the other the mixture is one of the two."""
    x = np.random.default_rng(0).normal(2, 3, (1, 6, 5, 4)).astype("float32")
    layer = SwitchableNormalization(use_batch_norm=False)
    layer.build(x.shape)
    for favoured, groups in ((0, 4), (1, 1)):
        logits = np.float32([-40, -40])
        logits[favoured] = 40
        layer.mean_logits.assign(logits)
        layer.variance_logits.assign(logits)
        known = keras.layers.GroupNormalization(groups, epsilon=1e-5)
        np.testing.assert_allclose(to_numpy(layer(x)), to_numpy(known(x)), atol=1e-5)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("shape", [(1, 4), (2, 1, 1, 4), (1, 1, 1, 1), (1, 1), (0, 3, 3, 2)])
def test_single_pixels_stay_finite(shape, unbiased):
    layer = SwitchableNormalization(unbiased=unbiased)
    y = to_numpy(layer(np.ones(shape, "float32"), training=True))
    assert y.shape == shape
    assert np.isfinite(y).all()


def test_frozen_layer_uses_its_averages():
    x = np.random.default_rng(0).normal(2, 3, (4, 3, 3, 2)).astype("float32")
    layer = SwitchableNormalization()
    layer(x, training=True)
    before = layer.get_weights()
    layer.trainable = False
    frozen, inference = layer(x, training=True), layer(x, training=False)
    np.testing.assert_array_equal(to_numpy(frozen), to_numpy(inference))
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(("axis", "shape"), [(-1, (4,)), (0, (4, 3)), (-1, (2, 3, None))])
def test_bad_shapes(axis, shape):
    with pytest.raises(ValueError, match=r"needs inputs .* received shape"):
        SwitchableNormalization(axis=axis).build(shape)


@pytest.mark.parametrize("training", [True, False])
def test_weights_of_low_precision(training):
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")
    low, full = (SwitchableNormalization(dtype=dtype) for dtype in ("bfloat16", "float32"))
    y = low(x, training=training)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    expected = to_numpy(full(x, training=training))
    np.testing.assert_allclose(to_numpy(keras.ops.cast(y, "float32")), expected, atol=0.05)


@pytest.mark.export
def test_export():
    run_layer_test(SwitchableNormalization, {}, (2, 6, 5, 4), deployable=True)


@pytest.mark.parametrize("shape", [(16, 12), (4, 30, 5), (4, 8, 8, 5), (3, 4, 4, 4, 5)])
@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_large_mean_keeps_the_variance(shape, use_batch_norm):
    x = np.float32(1000 + 0.1 * np.random.default_rng(0).normal(size=shape))
    layer = SwitchableNormalization(use_batch_norm=use_batch_norm, momentum=0.0)
    y = to_numpy(layer(x, training=True))
    np.testing.assert_allclose(y, numpy_reference(layer, x, training=True), atol=2e-3)
    if use_batch_norm:
        variance = x.astype("float64").var(tuple(range(x.ndim - 1)))
        np.testing.assert_allclose(to_numpy(layer.moving_variance), variance, rtol=1e-3)


def test_blank_image_beside_others():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (4, 8, 8, 3)).astype("float32")
    x[0] = 250 + 0.02 * rng.normal(size=(8, 8, 3))
    layer = SwitchableNormalization(use_batch_norm=False)
    y = to_numpy(layer(x, training=True))
    np.testing.assert_allclose(y, numpy_reference(layer, x), atol=2e-3)


def test_constant_is_zero_however_large():
    x = np.full((2, 8, 8, 3), 1e10, "float32")
    np.testing.assert_array_equal(to_numpy(SwitchableNormalization()(x, training=True)), 0)


def test_gradients_of_large_mean():
    """Those of the same image around zero: the norm takes the mean away."""
    moved = []
    x = np.random.default_rng(0).integers(-4, 5, (4, 6, 6, 3)).astype("float32")
    for mean in (0.0, 1024.0):
        layer = SwitchableNormalization()
        model = keras.Sequential([keras.Input((6, 6, 3)), layer])
        model.compile(keras.optimizers.SGD(1.0), "mse")
        model.train_on_batch(x + mean, x[::-1])
        moved.append(model.get_weights())
    for found, expected in zip(moved[1][:4], moved[0][:4], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)
