import keras
import pytest

from kdl.applications import ShuffleNetV2, macs


def model_of(layer, shape=(9, 8, 6)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (keras.layers.Conv2D(4, 3, 2, "same"), 5 * 4 * 9 * 6 * 4),
        (keras.layers.Conv2D(4, 3, groups=2), 7 * 6 * 9 * 3 * 4),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), 7 * 6 * 9 * 6 * 2),
        (keras.layers.Conv2DTranspose(4, 3, 2), 9 * 8 * 9 * 6 * 4),
        (keras.layers.Dense(5), 9 * 8 * 6 * 5),
        (keras.layers.SeparableConv2D(4, 3, 2, depth_multiplier=2), 4 * 3 * (9 * 12 + 12 * 4)),
        (keras.layers.EinsumDense("abcd,def->abcef", (9, 8, 4, 5)), 9 * 8 * 6 * 4 * 5),
        (keras.layers.TimeDistributed(keras.layers.Dense(5)), 9 * 8 * 6 * 5),
        (keras.layers.BatchNormalization(), 0),
    ],
)
def test_macs_of_layers_match_the_formula(layer, count):
    assert macs(model_of(layer)) == count


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_macs_unchanged_by_keras_quantization(mode):
    model = model_of(keras.layers.Dense(5))
    model.layers[-1].quantize(mode)
    assert macs(model) == 9 * 8 * 6 * 5


def test_macs_include_nested_models_and_blocks():
    inner = ShuffleNetV2(0.5, input_shape=(64, 64, 3), include_top=False)
    alone = macs(inner)
    assert alone > 3e6
    assert macs(model_of(inner, (64, 64, 3))) == alone


def test_macs_at_dynamic_size_raise_without_input_shape():
    model = ShuffleNetV2(0.5, include_top=False)
    fixed = ShuffleNetV2(0.5, include_top=False, input_shape=(64, 96, 3))
    assert macs(model, (64, 96, 3)) == macs(fixed)
    with pytest.raises(ValueError, match="Pass input_shape"):
        macs(model)


def test_macs_of_unknown_kernels_raise():
    with pytest.raises(ValueError, match="it has 2 kernels"):
        macs(model_of(keras.layers.ConvLSTM1D(4, 3)))


def test_macs_of_a_sequential_model_of_dynamic_size():
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(ValueError, match="Pass input_shape"):
        macs(model)
    assert macs(model, (10, 12, 3)) == 8 * 10 * 3 * 3 * 3 * 4
