import keras
import numpy as np
import pytest

from kdl.compression import calibrate, quantize_aware, round_biases
from kdl.testing import _checks

K = keras.layers


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal((32, 16, 16, 3)).astype("float32")


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def quantized_alone(layer, images, after=lambda x: x):
    """The quantized form of a network of one layer, and that form's step of the input."""
    layer.bias_initializer = keras.initializers.RandomNormal(stddev=0.1)
    inputs = keras.Input((16, 16, 3))
    quantized, _ = quantize_aware(keras.Model(inputs, after(layer(inputs))), images, verbose=0)
    low, high = (to_numpy(w)[0] for w in quantized.get_layer("range_0").weights)
    return quantized, quantized.get_layer(layer.name), (high - low) / 255


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (K.Conv2D(4, 3, name="conv"), (0, 1, 2)),
        (K.Conv2D(6, 3, groups=3, name="conv"), (0, 1, 2)),
        (K.DepthwiseConv2D(3, depth_multiplier=2, name="conv"), (0, 1)),
        (K.Conv2DTranspose(4, 2, 2, name="conv"), None),
        (K.Dense(4, name="conv"), None),
    ],
)
def test_biases_become_integers_of_the_sums(layer, axes, images):
    quantized, layer, step = quantized_alone(layer, images)
    before = to_numpy(layer.bias).copy()
    round_biases(quantized)
    unit = (step * np.abs(to_numpy(layer.kernel)).max(axis=axes) / 127).reshape(-1)
    integers = to_numpy(layer.bias) / unit
    np.testing.assert_allclose(integers, np.round(integers), rtol=3e-6)
    difference = np.abs(to_numpy(layer.bias) - before)
    assert difference.max() > 0
    assert (difference <= unit * 0.501).all()


@pytest.mark.parametrize(
    ("after", "number"),
    [
        (lambda x: keras.ops.relu6(x + 3.0), 3.0),
        (lambda x: keras.ops.relu(0.7 + x), 0.7),
        (lambda x: keras.ops.relu(x - 0.7), -0.7),
        (lambda x: keras.ops.relu(0.7 - x), 0.0),
        (lambda x: K.Add()([x + 3.0, x]), 0.0),
    ],
)
def test_a_number_added_later_is_part_of_the_bias(after, number, images):
    quantized, layer, step = quantized_alone(K.Conv2D(4, 3, name="conv"), images, after)
    round_biases(quantized)
    unit = step * np.abs(to_numpy(layer.kernel)).max(axis=(0, 1, 2)) / 127
    integers = (to_numpy(layer.bias) + number) / unit
    np.testing.assert_allclose(integers, np.round(integers), rtol=3e-6)


def test_bias_without_a_single_scale_stays(images):
    """A layer that two steps reach, and one that reads what stays float."""
    inputs = keras.Input((16, 16, 3))
    twice = K.Conv2D(3, 1, bias_initializer="random_normal", name="twice")
    x = K.LayerNormalization()(twice(K.ReLU()(twice(inputs))))
    late = K.Conv2D(2, 1, bias_initializer="random_normal", name="late")
    quantized, _ = quantize_aware(keras.Model(inputs, late(K.ELU()(x))), images, verbose=0)
    before = [to_numpy(quantized.get_layer(name).bias).copy() for name in ("twice", "late")]
    round_biases(quantized)
    np.testing.assert_array_equal(before[0], to_numpy(quantized.get_layer("twice").bias))


def test_calibrate_rounds_biases(images):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, K.Conv2D(4, 3, bias_initializer="random_normal")(inputs))
    quantized, _ = calibrate(model, images, verbose=0)
    before = [np.array(w) for w in quantized.get_weights()]
    round_biases(quantized)
    for old, new in zip(before, quantized.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, rtol=3e-6, atol=1e-9)


def test_a_model_without_a_graph():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="graph is unknown"):
        round_biases(Own())


def test_round_biases_of_float_model_raises():
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="Expected a model that calibrate or quantize_aware gave"):
        round_biases(keras.Model(inputs, K.Dense(2)(inputs)))


def network():
    """Ten roundings one after the other, with averages of four and of nine numbers."""
    x = inputs = keras.Input((16, 16, 3))
    x = K.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = K.AveragePooling2D(2)(x)
    x = K.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
    x = K.UpSampling2D(2, interpolation="bilinear")(K.Conv2D(16, 1)(x))
    x = K.AveragePooling2D(3, 2)(x)
    gate = K.Conv2D(16, 1, activation="hard_sigmoid")(K.GlobalAveragePooling2D(keepdims=True)(x))
    x = K.AveragePooling2D(2)(K.Multiply()([x, gate]))
    return keras.Model(inputs, K.Conv2D(8, 3)(x))


@pytest.mark.export
def test_file_outputs_match_almost_to_the_bit(images, tmp_path):
    """Of 18 000 numbers some thirty are another integer."""
    from kdl.deploy import TFLiteRunner, export_tflite

    many = np.random.default_rng(1).standard_normal((2304, 16, 16, 3)).astype("float32")
    model = network()
    _checks.move_weights(model)
    quantized, report = calibrate(model, images, verbose=0)
    assert report.complete
    path = tmp_path / "network.tflite"
    result = export_tflite(quantized, path, "int8", verification_data=images)
    expected = quantized.predict(many, verbose=0)
    [found] = TFLiteRunner(path).predict(many)
    assert result.sqnr > 60
    assert expected.size == 18_432
    different = np.abs(expected - found) > 1e-4 * np.abs(expected).max()
    assert different.sum() < 100


@pytest.mark.parametrize("dead", ["input", "relu"])
def test_an_input_that_was_always_zero_leaves_the_bias(dead):
    rng = np.random.default_rng(0)
    inputs = [keras.Input((4,)), keras.Input((3,))]
    x = inputs[1]
    if dead == "relu":
        x = keras.layers.Dense(3, "relu", bias_initializer=keras.initializers.Constant(-100))(x)
    x = keras.layers.Dense(5, bias_initializer="ones", name="behind")(x)
    x = keras.layers.Add()([keras.layers.Dense(5)(inputs[0]), x])
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    states = np.zeros((16, 3)) if dead == "input" else rng.random((16, 3))
    data = [rng.random((16, 4)).astype("float32"), states.astype("float32")]
    quantized, _ = calibrate(model, data, verbose=0)
    found, expected = (m.predict(data, verbose=0) for m in (quantized, model))
    np.testing.assert_allclose(found, expected, atol=0.05 * np.ptp(expected))
