import keras
import numpy as np
import pytest
from golden import torch_plain

from kdl.layers.blocks.separable_block import SeparableBlock
from kdl.testing import run_layer_test


def reference(block, x):
    from torch.nn import functional as F

    conv, bn = torch_plain.operations(block)
    act = F.relu6 if block.activation == "relu6" else F.relu

    def definition(x):
        x = conv(x, "depthwise", block.strides, block.dilation_rate, depthwise=True)
        x = act(bn(x, "depthwise_bn"))
        return act(bn(conv(x, "pointwise"), "pointwise_bn"))

    return torch_plain.apply(definition, x)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"strides": 2, "kernel_size": 5}, 7),
        ({"dilation_rate": 2, "activation": "relu"}, 6),
    ],
)
def test_layer(arguments, size):
    half = -(-size // arguments.get("strides", 1))
    run_layer_test(
        SeparableBlock,
        {"filters": 6, **arguments},
        (4, size, size, 4),
        expected_output_shape=(4, half, half, 6),
        reference=reference,
    )


@pytest.mark.export
def test_exports():
    run_layer_test(SeparableBlock, {"filters": 8, "padding": "same"}, (4, 6, 6, 4), deployable=True)


@pytest.mark.parametrize(("activation", "expected"), [("relu6", 6.0), ("relu", 60.0)])
def test_activation_is_cut_off_at_its_limit(activation, expected):
    block = SeparableBlock(1, activation=activation, data_format="channels_last")
    block.build((None, 3, 3, 1))
    for weight in block.weights:
        if weight.name in ("beta", "kernel"):
            weight.assign(np.full(weight.shape, 30.0 if weight.name == "beta" else 1.0))
    y = keras.ops.convert_to_numpy(block(np.zeros((1, 3, 3, 1), "float32")))
    np.testing.assert_allclose(y, expected, rtol=1e-4)  # 30, and 1 · 30 + 30 after it


def test_same_padding_matches_tensorflow():
    """With stride 2 on an even size the odd pixel goes right and down: the top-left is a corner."""
    x = np.zeros((1, 4, 4, 1), "float32")
    x[0, 0, 0] = 1.0
    seen = {}
    for padding in ("same", "symmetric"):
        block = SeparableBlock(1, 2, padding=padding, data_format="channels_last")
        block.build(x.shape)
        for weight in block.weights:
            if weight.name == "kernel":
                weight.assign(np.arange(1.0, 1.0 + np.prod(weight.shape)).reshape(weight.shape))
        seen[padding] = float(keras.ops.convert_to_numpy(block(x))[0, 0, 0, 0])
    assert seen["same"] == pytest.approx(1.0, abs=1e-4)  # the kernel's first value
    assert seen["symmetric"] == pytest.approx(5.0, abs=1e-4)  # its center


def test_symbolic_call_yields_the_inner_graph():
    block = SeparableBlock(8, strides=2, data_format="channels_last")
    block.build((None, 6, 6, 4))
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, block.call(inputs))
    assert [layer.name for layer in model.layers[1:]] == [
        "depthwise_pad",
        "depthwise",
        "depthwise_bn",
        "depthwise_relu",
        "pointwise",
        "pointwise_bn",
        "pointwise_relu",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "filters must be a positive integer; received 0"),
        ({"strides": 3}, "strides must be one of 1, 2; received 3"),
        ({"kernel_size": 4}, "kernel_size must be odd, such as 3 or 5; received 4"),
        ({"kernel_size": 2.5}, "kernel_size must be a positive integer"),
        ({"dilation_rate": 0}, "dilation_rate must be a positive integer"),
        ({"strides": 2, "dilation_rate": 2}, "strides or dilation, not both"),
        ({"activation": "swish"}, "activation must be one of 'relu6', 'relu'; received 'swish'"),
        ({"padding": "valid"}, "padding must be"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        SeparableBlock(**{"filters": 8, **arguments})


def test_unknown_width_raises():
    with pytest.raises(ValueError, match="number of input channels must be known"):
        SeparableBlock(8, data_format="channels_last").build((None, 6, 6, None))
