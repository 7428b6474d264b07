import keras
import numpy as np
import pytest
from golden import stand_in, torch_plain

from kdl.applications import load_torch_weights
from kdl.applications.se_inception import ENTRIES, SEInception
from kdl.testing import run_model_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.fixture(scope="module")
def model():
    return SEInception(input_shape=(None, None, 3))


def test_parameters(model):
    [entry] = ENTRIES
    assert (entry.constructor, entry.arguments) == (SEInception, {})
    assert model.name == entry.name == "se_inception"
    counted = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert counted == entry.parameters == 11_931_622


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="compiles for a minute")
def test_model():
    # With 32×32 pixels the last modules normalise over two values, and the gradient explodes.
    run_model_test(SEInception, {"classes": 3}, (2, 64, 64, 3), expected_output_shape=(2, 3))


def test_inception_modules_have_the_authors_widths(model):
    """Channels that each module gives and that its gate sees, as in the authors' prototxt."""
    modules = [layer for layer in model.layers if layer.name.startswith("inception")]
    assert {x.name[-2:]: (x.se.expand.filters, x.se.reduce.filters) for x in modules} == {
        "3a": (256, 16),
        "3b": (320, 20),
        "3c": (576, 36),
        "4a": (576, 36),
        "4b": (576, 36),
        "4c": (608, 38),
        "4d": (608, 38),
        "4e": (1056, 66),
        "5a": (1024, 64),
        "5b": (1024, 64),
    }
    assert [x.name[-2:] for x in modules if x.pool == "max"] == ["3c", "4e", "5b"]
    assert [x.name[-2:] for x in modules if x.strides == 2] == ["3c", "4e"]


def plain_stem(model, x):
    """The stem in plain PyTorch, on an NCHW tensor."""
    from torch.nn.functional import max_pool2d, relu

    conv, bn = torch_plain.operations(model)
    x = relu(bn(conv(x, "stem1_conv", 2), "stem1_bn"))
    x = max_pool2d(x, 3, 2, ceil_mode=True)
    x = relu(bn(conv(x, "stem2_conv"), "stem2_bn"))
    x = relu(bn(conv(x, "stem3_conv"), "stem3_bn"))
    return max_pool2d(x, 3, 2, ceil_mode=True)


@pytest.mark.parametrize("size", [64, 75])
def test_stem_output_matches_pytorch(model, size):
    """The modules behind it are compared in tests/layers/blocks/test_inception_block.py."""
    stem = keras.Model(model.input, model.get_layer("stem3_pool").output)
    x = stand_in.image(size)
    expected = torch_plain.apply(lambda t: plain_stem(model, t), x)
    np.testing.assert_allclose(to_numpy(stem(x)), expected, atol=1e-5)


def test_pyramid(model):
    levels = keras.Model(model.input, model.pyramid_outputs)
    assert levels.compute_output_shape((1, 64, 96, 3)) == {
        "P1": (1, 32, 48, 64),
        "P2": (1, 16, 24, 192),
        "P3": (1, 8, 12, 320),
        "P4": (1, 4, 6, 608),
        "P5": (1, 2, 3, 1024),
    }


@pytest.mark.parametrize(
    ("output_stride", "dilations"),
    [(8, {"3c": 1, "4a": 2, "4e": 2, "5a": 4}), (16, {"3c": 1, "4a": 1, "4e": 1, "5a": 2})],
)
def test_output_stride(output_stride, dilations):
    model = SEInception(output_stride, include_top=False)
    outputs = {x: model.get_layer(f"inception{x}").dilation_rate for x in dilations}
    assert outputs == dilations
    side = 64 // output_stride
    assert model.compute_output_shape((1, 64, 64, 3)) == (1, side, side, 1024)


@pytest.mark.every_backend
def test_preprocessing():
    pixel = np.array([[[[123, 117, 105]]]], "uint8")
    assert to_numpy(SEInception.preprocess_input(pixel)).ravel().tolist() == [1, 0, 0]


def test_imagenet_weights_without_a_source_raise():
    with pytest.raises(ValueError, match="No public ImageNet weights of se_inception"):
        SEInception(weights="imagenet", include_top=False)


def test_torch_weights_without_reference_names_raise(model):
    with pytest.raises(ValueError, match="knows no names for se_inception"):
        load_torch_weights(model, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_stride": 4}, "output_stride must be"),
        ({"padding": "valid"}, "padding must be"),
        ({"input_shape": (31, 64, 3)}, "at least 32×32"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        SEInception(**arguments)
