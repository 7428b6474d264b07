import keras
import numpy as np
import pytest

from kdl.layers import ShuffleUnitV2
from kdl.testing import run_layer_test


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("variant", ["torchvision", "megvii"])
def test_layer(variant, strides, padding):
    run_layer_test(
        ShuffleUnitV2,
        {"filters": 12, "strides": strides, "variant": variant, "padding": padding},
        (4, 6, 6, 12 if strides == 1 else 8),
        expected_output_shape=(4, 6 // strides, 6 // strides, 12),
    )


def test_layer_of_the_deep_networks():
    arguments = {"filters": 12, "residual": True, "squeeze_ratio": 2, "dilation_rate": 2}
    run_layer_test(ShuffleUnitV2, arguments, (4, 6, 6, 12), expected_output_shape=(4, 6, 6, 12))


def test_changed_width_uses_both_branches():
    unit = ShuffleUnitV2(12, data_format="channels_last")
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 8)).astype("float32")
    assert tuple(unit(x).shape) == (2, 5, 5, 12)
    assert len(unit.projection) == 5


def test_residual_adds_the_input_of_the_branch():
    """With a last batch norm of zeros the main branch is the ReLU of its input."""
    unit = ShuffleUnitV2(8, residual=True, data_format="channels_last")
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 8)).astype("float32")
    unit.build(x.shape)
    last = unit.main[-1]
    last.gamma.assign(np.zeros(4))
    y = keras.ops.convert_to_numpy(unit(x))
    np.testing.assert_allclose(y[..., 1::2], np.maximum(x[..., 4:], 0), atol=1e-6)


@pytest.mark.export
def test_exports():
    run_layer_test(ShuffleUnitV2, {"filters": 12}, (4, 6, 6, 12), deployable=True)


@pytest.mark.parametrize("size", [5, 6])
def test_symmetric_padding_matches_torch(size):
    """Depthwise with stride 2, seen alone: the projection's first convolution."""
    import torch

    unit = ShuffleUnitV2(8, strides=2, data_format="channels_last")
    x = np.random.default_rng(0).standard_normal((1, size, size, 4)).astype("float32")
    unit.build(x.shape)
    pad, conv = unit.projection[:2]
    outputs = keras.ops.convert_to_numpy(conv(pad(x)))
    kernel = keras.ops.convert_to_numpy(conv.kernel).transpose(2, 3, 0, 1)
    expected = torch.nn.functional.conv2d(
        torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(kernel), stride=2, padding=1, groups=4
    )
    np.testing.assert_allclose(outputs, expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)


def test_split_unit_passes_half_of_the_channels():
    unit = ShuffleUnitV2(8, data_format="channels_last")
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 8)).astype("float32")
    y = keras.ops.convert_to_numpy(unit(x))
    np.testing.assert_array_equal(y[..., 0::2], x[..., :4])
    megvii = ShuffleUnitV2(8, variant="megvii", data_format="channels_last")
    y = keras.ops.convert_to_numpy(megvii(x))
    np.testing.assert_array_equal(y[..., :4], x[..., 0::2])


def test_symbolic_call_yields_the_inner_graph():
    """Calling `call` on a symbolic tensor yields the graph inside, of Keras's and kdl's layers."""
    unit = ShuffleUnitV2(8, strides=2, data_format="channels_last")
    unit.build((None, 6, 6, 4))
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, unit.call(inputs))
    assert len([layer for layer in model.layers if "pointwise" in layer.name]) == 9
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype("float32")
    results = [keras.ops.convert_to_numpy(f(x)) for f in (model, unit)]
    np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 7}, "even positive"),
        ({"filters": 8, "strides": 3}, "strides must be one of 1, 2"),
        ({"filters": 8, "variant": "paper"}, "torchvision"),
        ({"filters": 8, "padding": "valid"}, "symmetric"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShuffleUnitV2(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 8, "strides": 2, "variant": "megvii"}, "must exceed the 12"),
        ({"filters": 10, "variant": "megvii"}, "must exceed the 12"),
    ],
)
def test_bad_input_width_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShuffleUnitV2(**arguments, data_format="channels_last")(np.zeros((1, 4, 4, 12), "float32"))
