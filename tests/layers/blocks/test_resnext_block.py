import keras
import numpy as np
import pytest
from golden import torch_plain

from kdl.layers.blocks.resnext_block import ResNeXtBlock
from kdl.testing import run_layer_test
from kdl.testing._gradients import gradients


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def randomized(block, input_shape):
    block.build(input_shape)
    return torch_plain.randomize(block)


def images(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype("float32")


@pytest.mark.parametrize(
    ("arguments", "channels"),
    [
        ({"form": "a"}, 12),
        ({"form": "b", "strides": 2, "padding": "same"}, 8),
        ({"squeeze_ratio": 4, "strides": 2, "strides_first": True}, 8),
        ({"first_filters": 4, "projection_size": 3, "strides": 2}, 8),
    ],
)
def test_layer(arguments, channels):
    side = 6 // arguments.get("strides", 1)
    run_layer_test(
        ResNeXtBlock,
        {"filters": 12, "cardinality": 2, "width": 3, **arguments},
        (4, 6, 6, channels),
        expected_output_shape=(4, side, side, 12),
    )


@pytest.mark.export
def test_exports():
    arguments = {"filters": 16, "cardinality": 2, "width": 4, "squeeze_ratio": 4}
    run_layer_test(ResNeXtBlock, arguments, (4, 6, 6, 8), deployable=True)


def definition(block, x):
    """Form c in plain PyTorch, on an NCHW tensor."""
    import torch
    from torch.nn.functional import relu

    conv, bn = torch_plain.operations(block)
    first, second = (block.strides, 1) if block.strides_first else (1, block.strides)
    y = relu(bn(conv(x, "conv1", first), "bn1"))
    y = relu(bn(conv(y, "conv2", second, block.dilation_rate, block.cardinality), "bn2"))
    y = bn(conv(y, "conv3"), "bn3")
    if block.squeeze_ratio:
        w1, b1, w2, b2 = (torch.tensor(to_numpy(w)) for w in block.se.weights)
        gate = torch.sigmoid(relu(y.mean((2, 3)) @ w1[0, 0] + b1) @ w2[0, 0] + b2)
        y = y * gate[:, :, None, None]
    if block.projects:
        dilation = block.dilation_rate if block.projection_size == 3 else 1
        x = bn(conv(x, "projection_conv", block.strides, dilation), "projection_bn")
    return relu(y + x)


@pytest.mark.parametrize(
    ("arguments", "channels", "shapes"),
    [
        ({"strides": 2}, 12, {"conv1": (1, 1, 12, 6), "conv2": (3, 3, 3, 6)}),
        ({"dilation_rate": 2}, 12, {"conv3": (1, 1, 6, 12)}),
        ({"squeeze_ratio": 4, "strides_first": True, "strides": 2}, 8, {}),
        (
            {"first_filters": 4, "projection_size": 3, "strides": 2},
            8,
            {"conv1": (1, 1, 8, 4), "conv2": (3, 3, 2, 6), "projection_conv": (3, 3, 8, 12)},
        ),
        ({"projection_size": 3, "dilation_rate": 2}, 8, {}),
    ],
)
def test_outputs_match_the_definition(arguments, channels, shapes):
    block = ResNeXtBlock(12, 2, 3, data_format="channels_last", **arguments)
    randomized(block, (None, 7, 7, channels))
    outputs = {w.path.split("/")[1]: w.shape for w in block.weights if w.name == "kernel"}
    assert shapes.items() <= outputs.items()
    x = images(2, 7, 7, channels)
    expected = torch_plain.apply(lambda t: definition(block, t), x)
    assert expected.max() > 0.5  # the last ReLU lets something through
    np.testing.assert_allclose(to_numpy(block(x)), expected, atol=1e-5)


def test_three_forms_outputs_match():
    """Forward and in the gradient of the input, from c to a to b and back to c."""
    block = ResNeXtBlock(8, 4, 2, strides=2, squeeze_ratio=4, data_format="channels_last")
    block = randomized(block, (None, 6, 6, 6))
    x = images(2, 6, 6, 6)
    weights, count = block.get_weights(), block.count_params()
    expected = to_numpy(block(x)), gradients(block, [], x)[1][0]
    assert np.abs(expected[1]).max() > 0.1
    for form in "abc":
        block = block.in_form(form)
        assert (block.form, block.count_params()) == (form, count)
        outputs = to_numpy(block(x)), gradients(block, [], x)[1][0]
        for one, reference in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(one, reference, atol=1e-4)
    for one, reference in zip(block.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, reference)


def test_form_a_output_is_the_sum_over_branches():
    """Each branch alone, then their sum, with statistics that change nothing but by epsilon."""
    block = ResNeXtBlock(6, 3, 2, form="a", data_format="channels_last", epsilon=0.0)
    block.build((None, 5, 5, 6))
    x = images(2, 5, 5, 6)
    total = np.zeros_like(x)
    for branch, end in zip(block.branches, block.ends, strict=True):
        y = x
        for layer in branch:
            y = layer(y)
        total += to_numpy(end(y))
    np.testing.assert_allclose(to_numpy(block(x)), np.maximum(x + total, 0), atol=1e-5)


@pytest.mark.parametrize("strides", [1, 2])
def test_shortcut_is_projected_where_the_shape_changes(strides):
    block = ResNeXtBlock(8, 2, 2, strides=strides, data_format="channels_last")
    block.build((None, 6, 6, 8))
    assert block.projects == (strides == 2)
    block = ResNeXtBlock(8, 2, 2, strides=strides, data_format="channels_last")
    block.build((None, 6, 6, 4))
    assert block.projects


def test_symbolic_call_yields_the_inner_graph():
    block = ResNeXtBlock(8, 2, 2, 2, squeeze_ratio=4, data_format="channels_last")
    block.build((None, 6, 6, 4))
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, block.call(inputs))
    assert {"conv2", "projection_bn", "se"} <= {layer.name for layer in model.layers}
    x = images(2, 6, 6, 4)
    np.testing.assert_allclose(to_numpy(model(x)), to_numpy(block(x)), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "filters must be a positive integer; received 0"),
        ({"cardinality": 0}, "cardinality must be"),
        ({"width": 2.5}, "width must be a positive integer; received 2.5"),
        ({"strides": 3}, "strides must be one of 1, 2"),
        ({"form": "d"}, "form must be one of 'a', 'b', 'c'"),
        ({"projection_size": 2}, "projection_size must be one of 1, 3"),
        ({"form": "a", "strides_first": True}, 'need form="c"'),
        ({"form": "b", "first_filters": 4}, 'need form="c"'),
        ({"padding": "valid"}, "padding must be"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNeXtBlock(**{"filters": 8, **arguments})


def test_first_filters_not_divisible_by_groups_raise():
    block = ResNeXtBlock(8, 4, 2, first_filters=6, data_format="channels_last")
    with pytest.raises(
        ValueError, match=r"groups=4 does not divide .* Nearest widths that it divides: 4 and 8"
    ):
        block.build((None, 4, 4, 8))


def test_in_form_copies_strip_pooling():
    block = ResNeXtBlock(16, 1, 4, strip_pooling=True, data_format="channels_last")
    block = randomized(block, (None, 8, 8, 16))
    x = images(2, 8, 8, 16)
    np.testing.assert_array_equal(to_numpy(block.in_form("c")(x)), to_numpy(block(x)))


def test_in_form_of_an_unbuilt_block_raises():
    with pytest.raises(ValueError, match="build the block first"):
        ResNeXtBlock(8).in_form("a")
    block = ResNeXtBlock(8, 2, 2, first_filters=2, data_format="channels_last")
    block.build((None, 4, 4, 8))
    with pytest.raises(ValueError, match='need form="c"'):
        block.in_form("a")
