import keras
import pytest

from kdl.layers import GroupedConv2D
from kdl.testing import run_layer_test


@pytest.mark.parametrize("lowering", ["auto", "native", "split"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": 6, "kernel_size": 3, "groups": 2, "strides": 2, "padding": "same"},
        {"filters": 8, "kernel_size": (1, 3), "groups": 4, "dilation_rate": 2},
    ],
)
def test_equals_keras_layer(arguments, lowering):
    def reference(layer, inputs):
        twin = keras.layers.Conv2D(**arguments, data_format=layer.data_format)
        twin.build(inputs.shape)
        twin.set_weights(layer.get_weights())
        return keras.ops.convert_to_numpy(twin(inputs))

    run_layer_test(
        GroupedConv2D,
        {**arguments, "lowering": lowering, "bias_initializer": "random_normal"},
        (2, 7, 8, 8),
        reference=reference,
    )


@pytest.mark.export
@pytest.mark.parametrize(("channels", "groups", "operations"), [(8, 2, 1), (30, 3, 3)])
def test_exports_as_one_operation_where_mobile_gpus_get_it_right(
    channels, groups, operations, tmp_path
):
    """Groups of four channels stay one convolution; groups of ten do not."""
    from kdl.deploy import export_tflite, read_tflite

    inputs = keras.Input((6, 6, channels))
    layer = GroupedConv2D(channels, 3, groups, padding="same", data_format="channels_last")
    model = keras.Model(inputs, layer(inputs))
    export_tflite(model, tmp_path / "grouped.tflite")
    found = read_tflite(tmp_path / "grouped.tflite").operations
    assert found["CONV_2D"] == operations
    assert ("SPLIT" in found) == (operations > 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"filters": 10, "groups": 4},
            "groups=4 does not divide filters, 10. Nearest widths that it divides: 8 and 12; "
            "numbers of groups near 4 that divide 10: 2, 5, 10",
        ),
        ({"filters": 8, "groups": 0}, "groups must be a positive integer"),
        ({"filters": 8, "groups": 2, "lowering": "shift"}, "lowering must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GroupedConv2D(kernel_size=3, **arguments)


def test_bad_input_width():
    layer = GroupedConv2D(8, 3, 4, data_format="channels_last")
    with pytest.raises(
        ValueError, match=r"divide the channels of the input, 6\. Nearest .* 4 and 8"
    ):
        layer.build((None, 8, 8, 6))
