import keras
import numpy as np
import pytest

from kdl.ops import adaptive_average_pool


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 7), (4, 5), (12, 20)])
def test_equals_torch(size):
    """Sizes that divide and that do not, and more cells than pixels."""
    import torch

    x = images(2, 6, 9, 3)
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x.transpose(0, 3, 1, 2)), size)
    results = to_numpy(adaptive_average_pool(x, size))
    np.testing.assert_allclose(results, expected.numpy().transpose(0, 2, 3, 1), atol=1e-6)
    first = to_numpy(adaptive_average_pool(x.transpose(0, 3, 1, 2), size, "channels_first"))
    np.testing.assert_allclose(first, expected.numpy(), atol=1e-6)


def test_cells_share_pixels():
    """Three pixels in two cells: the middle one counts in both; two in three: one repeats."""
    x = np.array([1, 10, 100], "float32").reshape(1, 3, 1, 1)
    np.testing.assert_allclose(to_numpy(adaptive_average_pool(x, (2, 1))).ravel(), [5.5, 55])
    results = to_numpy(adaptive_average_pool(x[:, :2], (3, 1))).ravel()
    np.testing.assert_allclose(results, [1, 5.5, 10])


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_in_a_functional_model(data_format):
    """The symbolic shape is the real one, where Keras's own operation says another."""
    x = images(2, 6, 9, 4)
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, adaptive_average_pool(inputs, (4, 2), data_format))
    expected = to_numpy(adaptive_average_pool(x, (4, 2), data_format))
    assert model.output_shape[1:] == expected.shape[1:]
    np.testing.assert_allclose(to_numpy(model(x)), expected, atol=1e-6)
    copy = keras.models.model_from_json(model.to_json())
    np.testing.assert_allclose(to_numpy(copy(x)), expected, atol=1e-6)


def test_half_precision():
    x = keras.ops.cast(images(2, 6, 9, 3), "bfloat16")
    results = adaptive_average_pool(x, (4, 4))
    assert keras.backend.standardize_dtype(results.dtype) == "bfloat16"
    expected = to_numpy(adaptive_average_pool(keras.ops.cast(x, "float32"), (4, 4)))
    np.testing.assert_allclose(to_numpy(keras.ops.cast(results, "float32")), expected, atol=0.02)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [((4, 4), (2, 2), "rank 4"), ((1, 4, 4, 1), (0, 2), "positive"), ((1, 4, 4, 1), (2,), "two")],
)
def test_bad_input(shape, size, message):
    with pytest.raises(ValueError, match=message):
        adaptive_average_pool(np.zeros(shape, "float32"), size)


def test_dynamic_size_raises():
    with pytest.raises(ValueError, match="adaptive_average_pool needs a known height and width"):
        adaptive_average_pool(keras.Input((None, None, 3)), (4, 4))


def test_integer_images_raise():
    with pytest.raises(ValueError, match=r"needs float images; received uint8. Cast them"):
        adaptive_average_pool(np.zeros((1, 3, 3, 1), "uint8"), (2, 2))
