import keras
import numpy as np
import pytest
from golden import torch_plain

from kdl.layers.blocks.inception_block import InceptionBlock
from kdl.testing import run_layer_test

FULL = {"pointwise": 3, "single": (2, 4), "double": (3, 5), "projection": 4}
HALVING = {"pointwise": 0, "single": (2, 4), "double": (3, 5), "projection": 0, "pool": "max"}


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def images(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype("float32")


@pytest.mark.long_to_compile
@pytest.mark.parametrize(
    ("arguments", "side", "filters"),
    [
        (FULL, 6, 16),
        ({**HALVING, "strides": 2, "squeeze_ratio": 4}, 3, 14),
    ],
)
def test_layer(arguments, side, filters):
    run_layer_test(
        InceptionBlock,
        arguments,
        (4, 6, 6, 5),
        expected_output_shape=(4, side, side, filters),
    )


def definition(block, x):
    """The module in plain PyTorch, on an NCHW tensor."""
    import torch
    from torch.nn import functional as F

    plain_conv, bn = torch_plain.operations(block)

    def conv(x, name, stride=1, dilation=1):
        return F.relu(bn(plain_conv(x, f"{name}_conv", stride, dilation), f"{name}_bn"))

    stride, dilation = block.strides, block.dilation_rate
    single = conv(conv(x, "single1"), "single2", stride, dilation)
    double = conv(conv(x, "double1"), "double2", 1, dilation)
    double = conv(double, "double3", stride, dilation)
    if stride == 2:
        pooled = F.max_pool2d(x, 3, 2, ceil_mode=True)  # as Caffe does it
    elif block.pool == "max":
        pooled = F.max_pool2d(x, 3, 1, 1)
    else:
        pooled = F.avg_pool2d(x, 3, 1, 1)  # zeros count
    y = [single, double, conv(pooled, "projection") if block.projection else pooled]
    y = torch.cat([conv(x, "pointwise"), *y] if block.pointwise else y, 1)
    if block.squeeze_ratio:
        w1, b1, w2, b2 = (torch.tensor(to_numpy(w)) for w in block.se.weights)
        gate = torch.sigmoid(F.relu(y.mean((2, 3)) @ w1[0, 0] + b1) @ w2[0, 0] + b2)
        y = y * gate[:, :, None, None]
    return y


@pytest.mark.parametrize(
    "arguments",
    [
        FULL,
        {**FULL, "pool": "max", "squeeze_ratio": 5},
        {**FULL, "dilation_rate": 2},
        {**FULL, "pointwise": 0, "projection": 0},
        {**HALVING, "strides": 2},
    ],
)
def test_outputs_match_the_definition(arguments):
    block = InceptionBlock(**arguments, data_format="channels_last")
    x = images(2, 6, 6, 5)
    block.build(x.shape)
    torch_plain.randomize(block)
    expected = torch_plain.apply(lambda t: definition(block, t), x)
    np.testing.assert_allclose(to_numpy(block(x)), expected, atol=1e-5)


def test_odd_size_is_halved_rounding_up():
    block = InceptionBlock(**HALVING, strides=2, data_format="channels_last")
    x = images(2, 7, 5, 3)
    y = to_numpy(block(x))
    assert y.shape == block.compute_output_shape(x.shape) == (2, 4, 3, 12)
    # The pooled input comes last: the maximum of all that is there, also where that is negative.
    assert y[0, 0, 0, -1] == x[0, :2, :2, -1].max()
    assert to_numpy(block(-np.ones_like(x)))[..., -1].max() == -1


def test_symbolic_call_yields_the_inner_graph():
    block = InceptionBlock(**FULL, squeeze_ratio=4, data_format="channels_last")
    block.build((None, 6, 6, 5))
    inputs = keras.Input((6, 6, 5))
    model = keras.Model(inputs, block.call(inputs))
    assert {"pointwise_conv", "double3_bn", "pool", "se"} <= {x.name for x in model.layers}
    x = images(2, 6, 6, 5)
    np.testing.assert_allclose(to_numpy(model(x)), to_numpy(block(x)), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pointwise": -1}, "pointwise must be an integer of at least 0; received -1"),
        ({"projection": 2.5}, "projection must be"),
        ({"single": 4}, "single must be two numbers of channels; received 4"),
        ({"double": (4, 4, 4)}, "double must be two numbers"),
        ({"double": (4, 0)}, "each number of double must be a positive integer; received 0"),
        ({"pool": "avg"}, "pool must be one of 'average', 'max'"),
        ({"strides": 3}, "strides must be one of 1, 2"),
        ({"strides": 2}, "strides=2 needs pointwise=0"),
        ({"pointwise": 0, "strides": 2, "dilation_rate": 2}, "and dilation_rate=1; received 0"),
        ({"dilation_rate": 0}, "dilation_rate must be"),
        ({"padding": "valid"}, "padding must be"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        InceptionBlock(**{**FULL, **arguments})
