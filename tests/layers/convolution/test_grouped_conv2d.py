import keras
import numpy as np
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
        counterpart = keras.layers.Conv2D(**arguments, data_format=layer.data_format)
        counterpart.build(inputs.shape)
        counterpart.set_weights(layer.get_weights())
        return keras.ops.convert_to_numpy(counterpart(inputs))

    run_layer_test(
        GroupedConv2D,
        {**arguments, "lowering": lowering, "bias_initializer": "random_normal"},
        (2, 7, 8, 8),
        reference=reference,
    )


# Channels of a group, groups, and convolutions in the file, as of (10, 3, 3).
MORE_GROUPS = ((4, 2, 1), (2, 32, 4), (254, 2, 2))


@pytest.mark.export
@pytest.mark.parametrize("quantization", ["float32", "int8"])
@pytest.mark.parametrize(
    ("width", "groups", "convolutions"),
    [(10, 3, 3), *(pytest.param(*x, marks=pytest.mark.long) for x in MORE_GROUPS)],
)
def test_exports_as_one_operation_where_mobile_gpus_get_it_right(
    width, groups, convolutions, quantization, tmp_path
):
    """Groups of four channels stay one convolution; others are split, kernels as constants."""
    from kdl.deploy import export_tflite, read_tflite

    channels = width * groups
    inputs = keras.Input((6, 6, channels))
    layer = GroupedConv2D(channels, 3, groups, padding="same", data_format="channels_last")
    model = keras.Model(inputs, layer(inputs))
    data = (
        None if quantization == "float32" else np.random.default_rng(0).random((8, 6, 6, channels))
    )
    path = tmp_path / "grouped.tflite"
    export_tflite(model, path, quantization=quantization, representative_data=data)

    one, several = {"CONV_2D"}, {"CONV_2D", "SPLIT", "CONCATENATION"}
    operations = read_tflite(path).operations
    assert operations["CONV_2D"] == convolutions
    assert set(operations) == (one if convolutions == 1 else several)


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
