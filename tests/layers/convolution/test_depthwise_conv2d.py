import keras
import numpy as np
import pytest

from kdl.layers import DepthwiseConv2D
from kdl.testing import run_layer_test


def as_keras(layer, x):
    """Keras's own layer with the same weights."""
    counterpart = keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        depth_multiplier=layer.depth_multiplier,
        dilation_rate=layer.dilation_rate,
        activation=layer.activation,
        use_bias=layer.use_bias,
    )
    counterpart.build(x.shape)
    counterpart.set_weights(layer.get_weights())
    return keras.ops.convert_to_numpy(counterpart(x))


@pytest.mark.parametrize("lowering", ["auto", "native", "shift"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3, "padding": "same", "strides": 2, "use_bias": False},
        {"kernel_size": (3, 5), "depth_multiplier": 2, "activation": "relu"},
        {"kernel_size": 3, "padding": "same", "dilation_rate": 2},
    ],
)
def test_equals_keras_layer(arguments, lowering):
    run_layer_test(
        DepthwiseConv2D,
        {**arguments, "lowering": lowering, "bias_initializer": "random_normal"},
        (2, 8, 9, 4),
        reference=as_keras,
    )


@pytest.mark.export
@pytest.mark.parametrize("lowering", ["auto", "shift"])
def test_exports_as_one_plain_operation(lowering, tmp_path):
    from kdl.deploy import export_tflite, read_tflite

    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, DepthwiseConv2D(3, padding="same", lowering=lowering)(inputs))
    export_tflite(model, tmp_path / "model.tflite")
    assert dict(read_tflite(tmp_path / "model.tflite").operations) == {"DEPTHWISE_CONV_2D": 1}


def test_weight_files_interchange_with_keras(tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype("float32")
    models = []
    for layer in (keras.layers.DepthwiseConv2D(3, name="d"), DepthwiseConv2D(3, name="d")):
        inputs = keras.Input((8, 8, 4))
        models.append(keras.Model(inputs, layer(inputs)))
    models[0].save_weights(tmp_path / "d.weights.h5")
    models[1].load_weights(tmp_path / "d.weights.h5")
    outputs = [keras.ops.convert_to_numpy(model(x)) for model in models]
    np.testing.assert_allclose(*outputs, atol=1e-6)


def test_unknown_lowering():
    with pytest.raises(ValueError, match="lowering must be one of"):
        DepthwiseConv2D(3, lowering="fft")
