import types

import keras
import numpy as np
import pytest
from golden import torch_plain

from kdl.layers.blocks.inverted_residual import InvertedResidual
from kdl.testing import run_layer_test


def reference(block, x):
    import torch
    from torch.nn.functional import hardswish, relu, relu6

    # The layers of the gate have names that those of the block have, too.
    own = [w for w in block.weights if "/squeeze/" not in w.path]
    conv, bn = torch_plain.operations(types.SimpleNamespace(weights=own))
    act = {"relu6": relu6, "relu": relu, "hard_swish": hardswish}[block.activation]

    def gate(x):
        weights = (keras.ops.convert_to_numpy(w) for w in block.chain[-3].weights)
        w1, b1, w2, b2 = map(torch.tensor, weights)
        y = relu(x.mean((2, 3)) @ w1[0, 0] + b1) @ w2[0, 0] + b2
        return x * (relu6(y + 3) / 6)[:, :, None, None]

    def definition(x):
        y = x
        if (block.inner_filters or block.expansion * x.shape[1]) != x.shape[1]:
            y = act(bn(conv(y, "expand"), "expand_bn"))
        y = conv(y, "depthwise", block.strides, block.dilation_rate, depthwise=True)
        y = act(bn(y, "depthwise_bn"))
        y = y if block.squeeze_filters is None else gate(y)
        y = bn(conv(y, "project"), "project_bn")
        return x + y if block.strides == 1 and y.shape == x.shape else y

    return torch_plain.apply(definition, x)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"strides": 2}, 4),  # the strides rule out the residual
        ({"expansion": 2, "kernel_size": 5, "dilation_rate": 2}, 7),
        ({"inner_filters": 10, "activation": "hard_swish", "squeeze_filters": 3}, 7),
        ({"inner_filters": 6, "activation": "relu"}, 7),  # without an expansion
    ],
)
def test_layer(arguments, size):
    run_layer_test(
        InvertedResidual,
        {"filters": 6, **arguments},
        (4, 7, 7, 6),
        expected_output_shape=(4, size, size, 6),
        reference=reference,
    )


def test_without_expansion_and_with_another_width():
    block = InvertedResidual(6, expansion=1, data_format="channels_last")
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 4)).astype("float32")
    y = keras.ops.convert_to_numpy(block(x))
    np.testing.assert_allclose(y, reference(block, x), atol=1e-5)
    assert {w.path.split("/")[-2] for w in block.weights} == {
        "depthwise",
        "depthwise_bn",
        "project",
        "project_bn",
    }


@pytest.mark.export
def test_exports():
    run_layer_test(
        InvertedResidual, {"filters": 4, "padding": "same"}, (4, 6, 6, 4), deployable=True
    )


def test_symbolic_call_yields_the_inner_graph():
    block = InvertedResidual(4, data_format="channels_last")
    block.build((None, 6, 6, 4))
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, block.call(inputs))
    names = [layer.name for layer in model.layers]
    assert [name for name in names if name.endswith("bn")] == [
        "expand_bn",
        "depthwise_bn",
        "project_bn",
    ]
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype("float32")
    results = [keras.ops.convert_to_numpy(f(x)) for f in (model, block)]
    np.testing.assert_allclose(*results, atol=1e-6)


def test_projection_has_no_activation():
    """Negative values leave the block: nothing follows the last batch norm."""
    block = InvertedResidual(6, data_format="channels_last")
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype("float32")
    assert keras.ops.convert_to_numpy(block(x)).min() < 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "filters must be a positive integer; received 0"),
        ({"expansion": 0}, "expansion must be a positive integer; received 0"),
        ({"strides": 3}, "strides must be one of 1, 2; received 3"),
        ({"kernel_size": 4}, "kernel_size must be odd, such as 3 or 5; received 4"),
        ({"strides": 2, "dilation_rate": 2}, "strides or dilation, not both"),
        ({"inner_filters": 0}, "inner_filters must be a positive integer; received 0"),
        ({"squeeze_filters": 0}, "squeeze_filters must be a positive integer; received 0"),
        ({"activation": "tanh"}, "activation must be one of 'relu', 'relu6', 'hard_swish'"),
        ({"padding": "valid"}, "padding must be"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        InvertedResidual(**{"filters": 8, **arguments})


def test_unknown_width_raises():
    with pytest.raises(ValueError, match="number of input channels must be known"):
        InvertedResidual(8, data_format="channels_last").build((None, 6, 6, None))
