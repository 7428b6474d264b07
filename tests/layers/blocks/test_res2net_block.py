import keras
import numpy as np
import pytest
from golden import torch_plain

from kdl.layers.blocks.res2net_block import Res2NetBlock
from kdl.testing import run_layer_test


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def reference(block, x):
    """The block in plain PyTorch."""
    import torch
    from torch.nn import functional as F

    conv, bn = torch_plain.operations(block)

    def shortcut(x):
        if x.shape[1] == block.filters and block.strides == 1:
            return x
        if not block.average_shortcut:
            return bn(conv(x, "projection_conv", block.strides), "projection_bn")
        s = block.strides
        x = F.avg_pool2d(x, s, s, ceil_mode=True, count_include_pad=False)
        return bn(conv(x, "projection_conv"), "projection_bn")

    def definition(x):
        *groups, last = F.relu(bn(conv(x, "conv1"), "bn1")).split(block.width, 1)
        results = []
        for i, group in enumerate(groups):
            before = 0 if block.stage_start or i == 0 else results[-1]
            y = conv(
                group + before, f"conv2_{i}", block.strides, block.dilation_rate, block.cardinality
            )
            results.append(F.relu(bn(y, f"bn2_{i}")))
        results.append(F.avg_pool2d(last, 3, block.strides, 1) if block.stage_start else last)
        return F.relu(bn(conv(torch.cat(results, 1), "conv3"), "bn3") + shortcut(x))

    return torch_plain.apply(definition, x)


@pytest.mark.parametrize(
    ("arguments", "channels"),
    [
        ({"cardinality": 2, "dilation_rate": 2}, 8),
        (
            {"stage_start": True, "strides": 2, "scale": 2, "padding": "same"}
            | {"average_shortcut": True},
            6,
        ),
    ],
)
def test_layer(arguments, channels):
    side = 6 // arguments.get("strides", 1)
    run_layer_test(
        Res2NetBlock,
        {"filters": 8, "width": 4, **arguments},
        (4, 6, 6, channels),
        expected_output_shape=(4, side, side, 8),
    )


@pytest.mark.export
def test_exports():
    arguments = {"filters": 8, "width": 4, "stage_start": True, "strides": 2}
    run_layer_test(Res2NetBlock, arguments, (4, 6, 6, 8), deployable=True)


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
@pytest.mark.parametrize(
    ("arguments", "channels"),
    [
        ({"cardinality": 3}, 8),
        ({"scale": 2, "dilation_rate": 2}, 6),
        ({"stage_start": True}, 6),
        ({"stage_start": True, "strides": 2}, 8),
        ({"stage_start": True, "strides": 2, "average_shortcut": True}, 6),
        ({"stage_start": True, "dilation_rate": 2, "average_shortcut": True}, 6),
    ],
)
def test_outputs_match_the_definition(arguments, channels, size):
    block = Res2NetBlock(8, 3, **arguments, data_format="channels_last")
    x = images(2, *size, channels)
    block.build(x.shape)
    torch_plain.randomize(block)
    outputs = keras.ops.convert_to_numpy(block(x))
    np.testing.assert_allclose(outputs, reference(block, x), atol=2e-5)


def test_zeros_beyond_the_border_count_in_the_average():
    block = Res2NetBlock(8, 3, stage_start=True, data_format="channels_last")
    block.build((None, 5, 5, 6))
    x = np.ones((1, 5, 5, 3), "float32")
    for layer in block.pool:
        x = layer(x)
    x = keras.ops.convert_to_numpy(x)
    np.testing.assert_allclose([x[0, 0, 0, 0], x[0, 0, 2, 0], x[0, 2, 2, 0]], [4 / 9, 6 / 9, 1])


def test_symbolic_call_yields_the_inner_graph():
    block = Res2NetBlock(8, 4, data_format="channels_last")
    block.build((None, 6, 6, 8))
    inputs = keras.Input((6, 6, 8))
    model = keras.Model(inputs, block.call(inputs))
    names = [layer.name for layer in model.layers if "conv" in layer.name]
    assert sorted(names) == ["conv1", "conv2_0", "conv2_1", "conv2_2", "conv3"]
    x = images(2, 6, 6, 8)
    results = [keras.ops.convert_to_numpy(f(x)) for f in (model, block)]
    np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "filters must be a positive integer; received 0"),
        ({"width": 0}, "width must be a positive integer; received 0"),
        ({"scale": 1}, "scale must be at least 2; received 1.*use ResNeXtBlock"),
        ({"scale": 2.0}, "scale must be a positive integer; received 2.0"),
        ({"cardinality": 3}, "groups=3 does not divide width, 4. Nearest widths .* 3 and 6"),
        ({"strides": 3}, "strides must be one of 1, 2; received 3"),
        ({"strides": 2}, "strides=2 needs stage_start=True"),
        ({"dilation_rate": 0}, "dilation_rate must be a positive integer; received 0"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        Res2NetBlock(**{"filters": 8, "width": 4, **arguments})
