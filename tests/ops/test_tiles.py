import keras
import numpy as np
import pytest

from kdl.ops.tiles import average_tiles, image_size, resize_bilinear, resize_nearest

# Sides that are multiples of 4, that leave something over, and that are shorter.
SIZES = [(14, 8), (7, 3), (2, 1)]


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def image(height, width, channels=3):
    return np.random.default_rng(height).random((2, height, width, channels)).astype("float32")


def transposed(function, x, *args):
    """`function` in channels-first, on a channels-last array."""
    return to_numpy(function(x.transpose(0, 3, 1, 2), *args, "channels_first")).transpose(
        0, 2, 3, 1
    )


def tiles_by_hand(x, size):
    def edges(side):
        return [(i, min(i + size, side)) for i in range(0, max(side - size, 0) + 1, size)]

    return np.stack(
        [
            np.stack([x[:, a:b, c:d].mean((1, 2)) for c, d in edges(x.shape[2])], 1)
            for a, b in edges(x.shape[1])
        ],
        1,
    )


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_average_tiles(height, width):
    x = image(height, width)
    expected = tiles_by_hand(x, 4)
    assert expected.shape[1:3] == (max(height // 4, 1), max(width // 4, 1))
    np.testing.assert_allclose(to_numpy(average_tiles(x, 4)), expected, atol=1e-6)
    np.testing.assert_allclose(transposed(average_tiles, x, 4), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(14, 14), (7, 5), (2, 3)])
def test_resize_nearest_is_that_of_torch(size):
    import torch

    x = image(3, 3)
    nchw = torch.tensor(x.transpose(0, 3, 1, 2))
    expected = torch.nn.functional.interpolate(nchw, size).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(to_numpy(resize_nearest(x, size)), expected)
    np.testing.assert_array_equal(transposed(resize_nearest, x, size), expected)


def test_resize_nearest_is_not_that_of_half_pixels():
    x = np.arange(3, dtype="float32").reshape(1, 1, 3, 1)
    copies = np.bincount(to_numpy(resize_nearest(x, (1, 14))).ravel().astype(int))
    assert copies.tolist() == [5, 5, 4]


@pytest.mark.parametrize("size", [(14, 7), (2, 3)])
def test_resize_bilinear_is_that_of_torch(size):
    import torch

    x = image(3, 3)
    nchw = torch.tensor(x.transpose(0, 3, 1, 2))
    resized = torch.nn.functional.interpolate(nchw, size, mode="bilinear")
    expected = resized.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(to_numpy(resize_bilinear(x, size)), expected, atol=1e-6)
    np.testing.assert_allclose(transposed(resize_bilinear, x, size), expected, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only its graphs are open")
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("resize", [resize_nearest, resize_bilinear])
def test_dynamic_sizes(resize, data_format):
    import tensorflow as tf

    def there_and_back(x):
        tiles = average_tiles(x, 4, data_format)
        return resize(tiles, image_size(x, data_format), data_format)

    shape = (None, None, None, 3) if data_format == "channels_last" else (None, 3, None, None)
    graph = tf.function(there_and_back, input_signature=[tf.TensorSpec(shape)])
    for height, width in SIZES:
        x = image(height, width)
        x = x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(graph(x), there_and_back(x), atol=1e-6)


def test_symbolic_dynamic_size_raises():
    with pytest.raises(ValueError, match=r"must be known to inline this graph; received shape"):
        average_tiles(keras.Input((None, 8, 3)), 4)
