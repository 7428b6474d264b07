import keras
import numpy as np
import pytest
from golden import torch_plain

from kdl.layers.blocks.self_calibrated_block import SelfCalibratedBlock
from kdl.testing import run_layer_test

V1D = {"average_pool": True, "average_shortcut": True}


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def reference(block, x):
    """The block in plain PyTorch, with nearest upsampling."""
    import torch
    from torch.nn import functional as F

    conv, bn = torch_plain.operations(block)
    dilation = block.dilation_rate
    stride = 1 if block.average_pool else block.strides

    def calibrated(x):
        far = bn(conv(F.avg_pool2d(x, 4), "k2_conv", dilation=dilation), "k2_bn")
        gate = (x + F.interpolate(far, x.shape[2:])).sigmoid()
        gated = bn(conv(x, "k3_conv", dilation=dilation), "k3_bn") * gate
        return bn(conv(gated, "k4_conv", stride, dilation), "k4_bn")

    def shortcut(x):
        if x.shape[1] == block.filters and block.strides == 1:
            return x
        if not block.average_shortcut:
            return bn(conv(x, "projection_conv", block.strides), "projection_bn")
        s = block.strides
        x = F.avg_pool2d(x, s, s, ceil_mode=True, count_include_pad=False)
        return bn(conv(x, "projection_conv"), "projection_bn")

    def definition(x):
        a = F.relu(bn(conv(x, "conv1_a"), "bn1_a"))
        a = F.relu(bn(conv(a, "k1_conv", stride, dilation), "k1_bn"))
        b = F.relu(calibrated(F.relu(bn(conv(x, "conv1_b"), "bn1_b"))))
        if block.average_pool:
            a, b = (F.avg_pool2d(branch, 3, block.strides, 1) for branch in (a, b))
        return F.relu(bn(conv(torch.cat([a, b], 1), "conv3"), "bn3") + shortcut(x))

    return torch_plain.apply(definition, x)


def test_layer():
    arguments = {"upsampling": "bilinear", "pooling_ratio": 2, "padding": "same", **V1D}
    run_layer_test(
        SelfCalibratedBlock,
        {"filters": 8, "width": 3, "strides": 2, **arguments},
        (4, 6, 6, 6),
        expected_output_shape=(4, 3, 3, 8),
    )


@pytest.mark.parametrize("size", [(10, 14), (9, 7)])
@pytest.mark.parametrize(
    ("arguments", "channels"),
    [
        ({}, 8),
        ({"strides": 2}, 8),
        ({"strides": 2, **V1D}, 6),
        ({"dilation_rate": 2, **V1D}, 6),
        ({"dilation_rate": 2}, 6),
    ],
)
def test_outputs_match_the_definition(arguments, channels, size):
    block = SelfCalibratedBlock(8, 3, **arguments, data_format="channels_last")
    x = images(2, *size, channels)
    block.build(x.shape)
    torch_plain.randomize(block)
    outputs = keras.ops.convert_to_numpy(block(x))
    np.testing.assert_allclose(outputs, reference(block, x), atol=2e-5)


def test_symbolic_call_yields_the_inner_graph():
    block = SelfCalibratedBlock(8, 3, data_format="channels_last")
    block.build((None, 14, 14, 6))
    inputs = keras.Input((14, 14, 6))
    model = keras.Model(inputs, block.call(inputs))
    names = {layer.name for layer in model.layers}
    assert {"conv1_a", "k1_conv", "conv1_b", "scconv", "conv3", "projection_conv"} <= names
    x = images(2, 14, 14, 6)
    results = [keras.ops.convert_to_numpy(f(x)) for f in (model, block)]
    np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "filters must be a positive integer; received 0"),
        ({"width": -1}, "width must be a positive integer; received -1"),
        ({"strides": 4}, "strides must be one of 1, 2; received 4"),
        ({"dilation_rate": 0}, "dilation_rate must be a positive integer; received 0"),
        ({"pooling_ratio": 0}, "pooling_ratio must be a positive integer; received 0"),
        ({"upsampling": "cubic"}, "upsampling must be one of 'nearest', 'bilinear'"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        SelfCalibratedBlock(**{"filters": 8, "width": 3, **arguments})
