import keras
import pytest

from kdl.layers import Conv2D
from kdl.testing import run_layer_test


@pytest.mark.parametrize("lowering", ["auto", "native", "matmul"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 5, "kernel_size": 1, "activation": "relu"},
        {"filters": 4, "kernel_size": (3, 2), "strides": 2, "padding": "same", "use_bias": False},
    ],
)
def test_equals_keras_layer(arguments, lowering):
    def reference(layer, inputs):
        counterpart = keras.layers.Conv2D(**arguments, data_format=layer.data_format)
        counterpart.build(inputs.shape)
        counterpart.set_weights(layer.get_weights())
        return keras.ops.convert_to_numpy(counterpart(inputs))

    run_layer_test(
        Conv2D,
        {**arguments, "lowering": lowering, "bias_initializer": "random_normal"},
        (2, 7, 8, 3),
        reference=reference,
    )


@pytest.mark.export
def test_exports_as_one_plain_operation(tmp_path):
    from kdl.deploy import export_tflite, read_tflite

    inputs = keras.Input((6, 6, 4))
    layer = Conv2D(8, 1, lowering="matmul", data_format="channels_last")
    export_tflite(keras.Model(inputs, layer(inputs)), tmp_path / "conv.tflite")
    assert dict(read_tflite(tmp_path / "conv.tflite").operations) == {"CONV_2D": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 2}, "one group; received groups=2. Use kdl.layers.GroupedConv2D"),
        ({"lowering": "shift"}, "lowering must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv2D(4, 1, **arguments)
