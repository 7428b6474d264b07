import keras
import numpy as np
import pytest
from keras import layers

from kdl.compression.quantization._decompose import decompose
from kdl.graph.read_graph import read_graph
from kdl.graph.rebuild import rebuild


def decomposed(model):
    return rebuild(decompose(read_graph(model)))


def images(*shape):
    return np.random.default_rng(0).standard_normal((2, *shape, 3)).astype("float32")


def pooled(x, windows, reduce):
    """NumPy reference of an adaptive pooling."""
    rows, columns = windows
    return np.stack(
        [np.stack([reduce(x[:, a:b, c:d], (1, 2)) for c, d in columns], 1) for a, b in rows], 1
    )


# Output size of images of 7 × 5 → the rows and columns that each output covers.
WINDOWS = {
    (1, 1): ([(0, 7)], [(0, 5)]),
    (7, 5): ([(i, i + 1) for i in range(7)], [(i, i + 1) for i in range(5)]),
    (3, 2): ([(0, 3), (2, 5), (4, 7)], [(0, 3), (2, 5)]),
    (4, 3): ([(0, 2), (1, 4), (3, 6), (5, 7)], [(0, 2), (1, 4), (3, 5)]),
}


@pytest.mark.parametrize("size", WINDOWS)
@pytest.mark.parametrize(
    ("layer", "reduce"),
    [(layers.AdaptiveAveragePooling2D, np.mean), (layers.AdaptiveMaxPooling2D, np.max)],
)
def test_adaptive_pooling_is_decomposed_into_poolings(layer, reduce, size):
    inputs = keras.Input((7, 5, 3))
    model = decomposed(keras.Model(inputs, layer(size, data_format="channels_last")(inputs)))
    kinds = {type(operation).__name__ for operation in model.operations}
    assert not any(kind.startswith("Adaptive") for kind in kinds)
    x = images(7, 5)
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, pooled(x, WINDOWS[size], reduce), atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_rescaling_of_integers_is_a_convolution_of_floats(dtype):
    inputs = keras.Input((4, 4, 3), dtype=dtype)
    outputs = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    model = decomposed(keras.Model(inputs, outputs))
    x = np.arange(48).reshape(1, 4, 4, 3).astype(dtype)
    np.testing.assert_allclose(model.predict(x, verbose=0), x / 127.5 - 1, atol=1e-6)


def test_rescaling_by_a_number_a_channel_is_a_convolution():
    inputs = keras.Input((4, 4, 3))
    scale, offset = [0.5, 2.0, 3.0], np.array([1.0, -1.0, 0.0])
    model = decomposed(keras.Model(inputs, layers.Rescaling(scale, offset)(inputs)))
    x = images(4, 4)
    np.testing.assert_allclose(model.predict(x, verbose=0), x * scale + offset, atol=1e-6)
    assert type(model.layers[-1]).__name__ == "DepthwiseConv2D"


def test_a_rescaling_shared_by_images_of_other_channels_has_a_convolution_for_each():
    shapes = ((4, 4, 3), (4, 4, 1), (4, 4, 3))
    inputs, rescaling = [keras.Input(shape) for shape in shapes], layers.Rescaling(0.5, 2.0)
    copy = decomposed(keras.Model(inputs, [rescaling(x) for x in inputs]))
    arrays = [np.random.default_rng(0).random((2, *shape)).astype("float32") for shape in shapes]
    for x, y in zip(arrays, copy.predict(arrays, verbose=0), strict=True):
        np.testing.assert_allclose(y, 0.5 * x + 2, rtol=1e-6)
    assert len([x for x in copy.layers if "Depthwise" in type(x).__name__]) == 2


def test_a_shared_adaptive_pooling_has_windows_for_each_size():
    pool = layers.AdaptiveAveragePooling2D(2, data_format="channels_last")
    inputs = [keras.Input((8, 8, 3)), keras.Input((16, 16, 3)), keras.Input((7, 5, 3))]
    whole = keras.Model(inputs, [pool(x) for x in inputs])
    x = [images(8, 8), images(16, 16), images(7, 5)]
    for one, other in zip(whole(x), decomposed(whole)(x), strict=True):
        np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (one, other)), atol=1e-6)


def test_an_average_along_an_axis_is_no_layer():
    inputs = keras.Input((4, 3))
    model = decomposed(keras.Model(inputs, keras.ops.average(inputs, axis=1)))
    x = np.arange(12, dtype="float32").reshape(1, 4, 3)
    np.testing.assert_allclose(model.predict(x, verbose=0), x.mean(1))
