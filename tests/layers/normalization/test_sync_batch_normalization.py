import pathlib
import sys

import keras
import numpy as np
import pytest

from kdl.layers import BatchNormalization, SyncBatchNormalization
from kdl.testing import run_layer_test
from kdl.training import launch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import parts_of_a_batch


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_layer():
    run_layer_test(SyncBatchNormalization, {"momentum": 0.5}, (4, 3, 5, 2))


@pytest.mark.parametrize("shape", [(6, 8), (4, 5, 8), (4, 3, 5, 8)])
def test_one_device_equals_keras(shape):
    ours, keras_own = SyncBatchNormalization(), keras.layers.BatchNormalization()
    rng = np.random.default_rng(0)
    for _ in range(2):
        x = rng.normal(2, 3, shape).astype("float32")
        y, expected = (to_numpy(layer(x, training=True)) for layer in (ours, keras_own))
        np.testing.assert_allclose(y, expected, atol=1e-5)
    for one, other in zip(ours.weights, keras_own.weights, strict=True):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("argument", ["renorm", "synchronized"])
def test_what_it_is_not(argument):
    with pytest.raises(ValueError, match=f"has no {argument}: .* Leave the argument out"):
        SyncBatchNormalization(**{argument: True})


def test_is_folded_like_any_other():
    from kdl.compression import fold_batch_norm

    inputs = keras.Input((5, 5, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, SyncBatchNormalization(name="norm")(x))
    model.get_layer("norm").moving_variance.assign([1.0, 2.0, 3.0, 4.0])
    folded = fold_batch_norm(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    images = np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype("float32")
    np.testing.assert_allclose(to_numpy(folded(images)), to_numpy(model(images)), atol=1e-5)


def test_weights_interchange_with_batch_normalization():
    plain = BatchNormalization()
    plain(np.random.default_rng(0).normal(2, 3, (4, 3)).astype("float32"), training=True)
    counterpart = SyncBatchNormalization()
    counterpart.build((None, 3))
    counterpart.set_weights(plain.get_weights())
    x = np.float32([[1, 2, 3]])
    np.testing.assert_array_equal(to_numpy(counterpart(x)), to_numpy(plain(x)))


def whole_batch(change=lambda x: x):
    """What Keras's layer gives on the joined batch, by its formula in float64."""
    x, dy = parts_of_a_batch.batch()
    x, dy = change(x).astype("float64"), dy.astype("float64")
    axes, count = (0, 1, 2), x.size / x.shape[-1]
    gamma, beta = np.array([0.5, 2.0]), np.array([1.0, -1.0])
    mean, variance = x.mean(axes), x.var(axes)
    scale = 1 / np.sqrt(variance + 1e-3)
    normal = (x - mean) * scale
    dgamma, dbeta = (dy * normal).sum(axes), dy.sum(axes)
    return {
        "y": gamma * normal + beta,
        "dx": gamma * scale * (dy - dbeta / count - normal * dgamma / count),
        "dgamma": dgamma,
        "dbeta": dbeta,
        "averages": np.array([[0.5 * mean, 0.5 + 0.5 * variance]] * 2),
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two devices gave: a process each on PyTorch, `MirroredStrategy`, or `pmap` on JAX."""
    path = tmp_path_factory.mktemp("parts") / "parts.npz"
    program = pathlib.Path(parts_of_a_batch.__file__)
    processes = 2 if keras.backend.backend() == "torch" else 1
    launch([sys.executable, str(program), str(path)], processes)
    return np.load(path)


@pytest.mark.long
def test_parts_of_any_size_are_one_batch(found):
    """Devices with unequal parts, or none, give outputs, gradients and averages of the whole."""
    for name, expected in whole_batch().items():
        for sizes in parts_of_a_batch.SIZES:
            error = f"{name} of parts {sizes}"
            np.testing.assert_allclose(
                found[f"{sizes}/{name}"], expected, 1e-4, 1e-5, err_msg=error
            )


def test_large_mean_keeps_the_variance(found):
    """Of parts as of one device; `x` itself holds four digits of its deviation."""
    expected = whole_batch(parts_of_a_batch.far)
    np.testing.assert_allclose(found["far/y"], expected["y"], atol=4e-3)
    np.testing.assert_allclose(found["far/dx"], expected["dx"], atol=2e-2)
    np.testing.assert_allclose(found["far/averages"], expected["averages"], rtol=1e-4)


def test_no_device_has_a_sample_and_the_averages_stay(found):
    assert found["none/y"].shape == (0, 3, 4, 2)
    np.testing.assert_array_equal(found["none/averages"], [[[0, 0], [1, 1]]] * 2)


def test_half_precision_sums_in_single(found):
    """Of numbers whose squares half precision does not hold; their scale is divided out again."""
    expected = whole_batch()
    np.testing.assert_allclose(found["half/y"], expected["y"], atol=0.02)
    gradient = found["half/dx"] * parts_of_a_batch.LARGE
    np.testing.assert_allclose(gradient, expected["dx"], atol=0.02)
    mean, variance = found["half/averages"][0]
    x, _ = parts_of_a_batch.batch()
    np.testing.assert_allclose(mean, 128 * x.mean((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(variance, 0.5 + 2**15 * x.var((0, 1, 2)), rtol=1e-3)
