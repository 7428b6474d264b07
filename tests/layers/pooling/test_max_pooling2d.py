import keras
import pytest

from kdl.layers import MaxPooling2D
from kdl.testing import run_layer_test


@pytest.mark.parametrize("lowering", ["auto", "native", "shift"])
@pytest.mark.parametrize(
    "arguments", [{"pool_size": 3, "strides": 2, "padding": "same"}, {"pool_size": (2, 3)}]
)
def test_equals_keras_layer(arguments, lowering):
    def reference(layer, inputs):
        counterpart = keras.layers.MaxPooling2D(**arguments, data_format=layer.data_format)
        return keras.ops.convert_to_numpy(counterpart(inputs))

    run_layer_test(
        MaxPooling2D, {**arguments, "lowering": lowering}, (2, 7, 8, 3), reference=reference
    )


@pytest.mark.export
def test_exports_as_one_plain_operation(tmp_path):
    from kdl.deploy import export_tflite, read_tflite

    inputs = keras.Input((6, 6, 4))
    layer = MaxPooling2D(2, lowering="shift", data_format="channels_last")
    export_tflite(keras.Model(inputs, layer(inputs)), tmp_path / "pool.tflite")
    assert dict(read_tflite(tmp_path / "pool.tflite").operations) == {"MAX_POOL_2D": 1}


def test_unknown_lowering():
    with pytest.raises(ValueError, match="lowering must be one of"):
        MaxPooling2D(2, lowering="sort")
