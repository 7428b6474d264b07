import keras
import numpy as np
import pytest
from golden import torch_plain

from kdl.layers.convolution.self_calibrated_conv2d import SelfCalibratedConv2D
from kdl.testing import run_layer_test


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def reference(layer, x):
    """The layer in plain PyTorch; sides of at least `pooling_ratio`."""
    from torch.nn import functional as F

    conv, bn = torch_plain.operations(layer)
    dilation, ratio = layer.dilation_rate, layer.pooling_ratio

    def definition(x):
        far = bn(conv(F.avg_pool2d(x, ratio), "k2_conv", dilation=dilation), "k2_bn")
        gate = (x + F.interpolate(far, x.shape[2:], mode=layer.upsampling)).sigmoid()
        gated = bn(conv(x, "k3_conv", dilation=dilation), "k3_bn") * gate
        return bn(conv(gated, "k4_conv", layer.strides, dilation), "k4_bn")

    return torch_plain.apply(definition, x)


@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": "same", "strides": 2, "pooling_ratio": 3},
        {"upsampling": "bilinear", "dilation_rate": 2},
    ],
)
def test_layer(arguments):
    side = 6 // arguments.get("strides", 1)
    run_layer_test(
        SelfCalibratedConv2D, arguments, (4, 6, 6, 3), expected_output_shape=(4, side, side, 3)
    )


@pytest.mark.export
def test_exports():
    """Rows are enlarged by copying pixels, columns by taking them."""
    run_layer_test(SelfCalibratedConv2D, {}, (4, 8, 14, 4), deployable=True)


@pytest.mark.parametrize("size", [(14, 14), (9, 4)])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"strides": 2},
        {"dilation_rate": 2, "upsampling": "bilinear", "pooling_ratio": 2},
    ],
)
def test_parity_with_the_definition(arguments, size):
    layer = SelfCalibratedConv2D(**arguments, data_format="channels_last")
    x = images(2, *size, 4)
    layer.build(x.shape)
    torch_plain.randomize(layer)
    found = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(found, reference(layer, x), atol=1e-5)


@pytest.mark.parametrize("size", [(3, 2), (1, 5), (1, 1)])
def test_short_sides_are_one_tile(size):
    """Where the reference fails: along a side below 4 pixels the tile is the whole side."""
    layer = SelfCalibratedConv2D(data_format="channels_last")
    x = images(2, *size, 4)
    layer.build((None, None, None, 4))
    torch_plain.randomize(layer)
    tile = [min(4, n) for n in size]
    kept = x[:, : tile[0], : tile[1]].mean((1, 2), keepdims=True)
    conv, bn = torch_plain.operations(layer)
    far = torch_plain.apply(lambda t: bn(conv(t, "k2_conv"), "k2_bn"), kept)
    gate = 1 / (1 + np.exp(-(x + far)))
    gated = torch_plain.apply(lambda t: bn(conv(t, "k3_conv"), "k3_bn"), x) * gate
    expected = torch_plain.apply(lambda t: bn(conv(t, "k4_conv"), "k4_bn"), gated)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), expected, atol=1e-5)


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_open_sizes(upsampling):
    layer = SelfCalibratedConv2D(upsampling=upsampling, data_format="channels_last")
    inputs = keras.Input((None, None, 4))
    model = keras.Model(inputs, layer(inputs))
    torch_plain.randomize(layer)
    for size in ((14, 9), (7, 2)):
        x = images(2, *size, 4)
        expected = keras.ops.convert_to_numpy(layer(x))
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)


def test_layer_is_transparent():
    layer = SelfCalibratedConv2D(data_format="channels_last")
    layer.build((None, 14, 14, 4))
    inputs = keras.Input((14, 14, 4))
    model = keras.Model(inputs, layer.call(inputs))
    names = [each.name for each in model.layers if "conv" in each.name]
    assert sorted(names) == ["k2_conv", "k3_conv", "k4_conv"]
    x = images(2, 14, 14, 4)
    results = [keras.ops.convert_to_numpy(f(x)) for f in (model, layer)]
    np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": 3}, "strides must be one of 1, 2; received 3"),
        ({"dilation_rate": 0}, "dilation_rate must be a positive integer; received 0"),
        ({"pooling_ratio": 2.5}, "pooling_ratio must be a positive integer; received 2.5"),
        ({"upsampling": "cubic"}, "upsampling must be one of 'nearest', 'bilinear'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SelfCalibratedConv2D(**arguments)


def test_bad_input_width():
    with pytest.raises(ValueError, match="number of input channels must be known"):
        SelfCalibratedConv2D(data_format="channels_last").build((None, 8, 8, None))
