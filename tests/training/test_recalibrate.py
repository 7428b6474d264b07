import keras
import numpy as np
import pytest

import kdl
from kdl._compat import all_layers
from kdl.layers import (
    CentralizedConv2D,
    MovingAverageBatchNormalization,
    ScheduledDropPath,
    SwitchableNormalization,
)
from kdl.training import recalibrate

pytestmark = pytest.mark.every_backend


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def images(count=10):
    return np.random.default_rng(0).normal(2, 3, (count, 4, 4, 3)).astype("float32")


def model_of(*layers):
    model = keras.Sequential([keras.Input((4, 4, 3)), *layers])
    model.compile("sgd", "mse")
    return model


def test_batch_norm_of_unequal_batches_gets_exact_statistics():
    """Ten images in batches of four, four and two count as ten images."""
    x = images()
    model = model_of(keras.layers.BatchNormalization(momentum=0.9))
    recalibrate(model, x, batch_size=4, verbose=0)
    norm = model.layers[-1]
    np.testing.assert_allclose(to_numpy(norm.moving_mean), x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(to_numpy(norm.moving_variance), x.var((0, 1, 2)), rtol=1e-5)
    assert norm.momentum == 0.9


def test_switchable_norm_gets_the_batch_average():
    x = images(8)
    model = model_of(SwitchableNormalization())
    recalibrate(model, x, batch_size=2, verbose=0)
    norm = model.layers[-1]
    np.testing.assert_allclose(to_numpy(norm.moving_mean), x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(to_numpy(norm.moving_variance), x.var((0, 1, 2)), rtol=1e-5)


def test_moving_average_norm_keeps_its_buffers():
    x = images(8)
    model = model_of(MovingAverageBatchNormalization(buffer_size=2, warmup_steps=0))
    norm = model.layers[-1]
    for variable in norm.variables:
        variable.assign(np.full(variable.shape, 7))
    recalibrate(model, x, batch_size=2, verbose=0)
    np.testing.assert_allclose(
        to_numpy(norm.moving_variance), (x.astype("float64") ** 2).mean((0, 1, 2)), rtol=1e-5
    )
    assert int(norm.step) == 7
    for buffer in (norm.squares, norm.products):
        np.testing.assert_array_equal(to_numpy(buffer), 7)
    assert norm.warmup_steps == 0


def test_dropout_is_off_and_restored():
    layers = [keras.layers.Dropout(0.5), keras.layers.GaussianNoise(0.9), ScheduledDropPath(0.3)]
    model = model_of(*layers, keras.layers.BatchNormalization())
    layers[2].total_steps.assign(1)
    layers[2].step.assign(1)
    x = images()
    recalibrate(model, x, verbose=0)
    norm = model.layers[-1]
    np.testing.assert_allclose(to_numpy(norm.moving_variance), x.var((0, 1, 2)), rtol=1e-5)
    assert layers[0].rate == 0.5
    assert layers[1].stddev == 0.9
    assert layers[2].final_keep_probability == 0.3
    assert int(layers[2].step) == 1


def test_norms_in_blocks_are_set_and_frozen_ones_unchanged():
    inputs = keras.Input((8, 8, 3))
    frozen = keras.layers.BatchNormalization(trainable=False)
    x = kdl.layers.InvertedResidual(4)(frozen(kdl.layers.Conv2D(4, 3)(inputs)))
    model = keras.Model(inputs, kdl.layers.ShuffleUnitV2(8, strides=2)(x))
    before = {v.path: to_numpy(v) for v in model.non_trainable_variables}
    x = np.random.default_rng(0).standard_normal((8, 8, 8, 3)).astype("float32")
    weights = [to_numpy(v) for v in model.trainable_variables]
    recalibrate(model, x, batch_size=4, verbose=0)
    own = {v.path for v in frozen.variables}
    for variable in model.non_trainable_variables:
        changed = not np.array_equal(to_numpy(variable), before[variable.path])
        moving = "moving" in variable.path and variable.path not in own
        assert changed == moving, variable.path
    for old, new in zip(weights, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, to_numpy(new))


def test_dataset_with_labels_and_steps_is_read():
    class Endless(keras.utils.PyDataset):
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            return images(4) + index, np.zeros(4)

    model = model_of(keras.layers.BatchNormalization())
    recalibrate(model, Endless(), steps=2, verbose=0)
    expected = images(4).mean((0, 1, 2)) + 0.5
    np.testing.assert_allclose(to_numpy(model.layers[-1].moving_mean), expected, rtol=1e-5)


class OddNorms(keras.layers.Layer):
    """Has a norm that it never calls, as blocks of Keras CV, and one that is in inference."""

    def __init__(self):
        super().__init__()
        self.spare, self.fixed, self.norm = (keras.layers.BatchNormalization() for _ in range(3))

    def build(self, shape):
        self.fixed.build(shape)
        self.norm.build(shape)

    def call(self, x, training=None):
        return self.norm(self.fixed(x, training=False), training=training)


def test_norms_without_batch_statistics_are_unchanged():
    """What is computed with a norm's own statistics is computed with them meanwhile, too."""
    model = model_of(OddNorms())
    [layer] = model.layers
    layer.fixed.moving_mean.assign([1, 2, 3])
    layer.fixed.moving_variance.assign([4, 4, 4])
    recalibrate(model, images(), batch_size=10, verbose=0)
    np.testing.assert_array_equal(to_numpy(layer.fixed.moving_mean), [1, 2, 3])
    np.testing.assert_array_equal(to_numpy(layer.fixed.moving_variance), [4, 4, 4])
    expected = (images().mean((0, 1, 2)) - [1, 2, 3]) / np.sqrt(4 + layer.fixed.epsilon)
    np.testing.assert_allclose(to_numpy(layer.norm.moving_mean), expected, rtol=1e-4)
    assert not layer.spare.built


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_data_raises_and_leaves_model_unchanged(bad):
    x = images()
    x[3, 1, 1, 2] = bad
    model = model_of(CentralizedConv2D(4, 1), keras.layers.BatchNormalization(name="norm"))
    before = model.get_weights()
    with pytest.raises(ValueError, match="statistics of norm are not finite"):
        recalibrate(model, x, batch_size=4, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.get_layer("norm").momentum == 0.99


def test_infinite_averages_are_replaced():
    x = images()
    model = model_of(keras.layers.BatchNormalization())
    norm = model.layers[-1]
    norm.moving_mean.assign([np.nan, 1, 2])
    norm.moving_variance.assign([np.inf, 1, 2])
    recalibrate(model, x, verbose=0)
    np.testing.assert_allclose(to_numpy(norm.moving_variance), x.var((0, 1, 2)), rtol=1e-5)


def test_model_without_norms_raises():
    with pytest.raises(ValueError, match="there is nothing to recalibrate"):
        recalibrate(model_of(SwitchableNormalization(use_batch_norm=False)), images(), verbose=0)


SEQUENCES = np.random.default_rng(0).normal(size=(8, 6, 4)).astype("float32")
RATES = {"dropout": 0.5, "recurrent_dropout": 0.5}
RECURRENT = {
    "LSTM": lambda: keras.layers.LSTM(4, return_sequences=True, dropout=0.5),
    "GRU": lambda: keras.layers.GRU(4, return_sequences=True, **RATES),
    "SimpleRNN": lambda: keras.layers.SimpleRNN(4, return_sequences=True, **RATES),
    "ConvLSTM1D": lambda: keras.Sequential(
        [
            keras.layers.Reshape((3, 2, 4)),
            keras.layers.ConvLSTM1D(4, 1, data_format="channels_last", **RATES),
        ]
    ),
    "Bidirectional": lambda: keras.layers.Bidirectional(keras.layers.LSTM(4, **RATES)),
    "StackedRNNCells": lambda: keras.layers.RNN(
        [keras.layers.LSTMCell(4, **RATES), keras.layers.GRUCell(4, dropout=0.5)]
    ),
    "PeepholeLSTM": lambda: kdl.layers.PeepholeLSTM(4, return_sequences=True, **RATES),
    "CoupledLSTM": lambda: kdl.layers.CoupledLSTM(4, **RATES),
}


@pytest.mark.long_to_compile
@pytest.mark.parametrize("kind", RECURRENT)
def test_dropout_of_recurrent_layers_is_off(kind):
    inputs = keras.Input((6, 4))
    hidden = RECURRENT[kind]()(inputs)
    norm = keras.layers.BatchNormalization()
    model = keras.Model(inputs, norm(hidden))
    recalibrate(model, SEQUENCES, batch_size=8, verbose=0)
    expected = keras.Model(inputs, hidden).predict(SEQUENCES, verbose=0)
    expected = expected.reshape(-1, expected.shape[-1]).mean(0)
    np.testing.assert_allclose(to_numpy(norm.moving_mean), expected, atol=1e-6)
    rates = [
        cell.dropout for cell in all_layers(model) if isinstance(vars(cell).get("dropout"), float)
    ]
    assert rates
    assert set(rates) == {0.5}


def test_random_preprocessing_and_spectral_norms_do_as_in_inference():
    x = images(6)
    hidden = [
        keras.layers.RandomBrightness(0.5, value_range=(0, 1), seed=1),
        keras.layers.RandomTranslation(0.5, 0.5, seed=1, data_format="channels_last"),
        keras.layers.SpectralNormalization(
            keras.layers.Conv2D(3, 3, data_format="channels_last", kernel_initializer="ones")
        ),
    ]
    model = model_of(*hidden, keras.layers.BatchNormalization())
    before = model.get_weights()
    recalibrate(model, x, batch_size=3, verbose=0)
    expected = keras.Sequential([keras.Input((4, 4, 3)), *hidden]).predict(x, verbose=0)
    norm = model.layers[-1]
    np.testing.assert_allclose(to_numpy(norm.moving_mean), expected.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert not any("call" in vars(layer) for layer in hidden)
    brightened = [hidden[0](x, training=True) for _ in range(2)]
    assert not np.array_equal(*map(to_numpy, brightened))  # chance is back


def test_endless_generator_with_steps_is_read():
    """The first batch alone counts; a rate of NumPy is a rate, and off."""
    inputs = keras.Input((4,))
    x = keras.layers.Reshape((2, 2))(inputs)
    x = keras.layers.LSTM(3, dropout=np.float32(0.5), return_sequences=True)(x)
    norm = keras.layers.BatchNormalization()
    model, values = keras.Model(inputs, norm(x)), np.random.default_rng(0).normal(size=(8, 4))
    recalibrate(model, (values for _ in iter(int, 1)), batch_size=8, steps=1, verbose=0)
    expected = keras.Model(inputs, x).predict(values, verbose=0).mean((0, 1))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(norm.moving_mean), expected, atol=1e-6)
