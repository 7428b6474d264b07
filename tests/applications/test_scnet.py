import inspect

import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications.scnet import ENTRIES, SCNet
from kdl.applications.scnet_sizes import SCNet50, SCNet101
from kdl.testing import run_model_test

SMALL = {"depth": (1, 1, 1, 1), "classes": 4}


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def blocks(model):
    return [layer for layer in model.layers if layer.name.startswith("stage")]


@pytest.mark.long
def test_model():
    arguments = {"variant": "v1d", "padding": "same", "upsampling": "bilinear"}
    run_model_test(
        SCNet,
        {**SMALL, **arguments, "output_stride": 16},
        (2, 40, 33, 3),
        expected_output_shape=(2, 4),
    )


def test_smallest_input_dynamic_and_fixed_sizes_match():
    """Maps of 2 pixels and of 1 are smaller than a tile; the reference fails there."""
    size = 32
    backbone = SCNet((1, 1, 1, 1), include_top=False)
    assert backbone.input_shape == (None, None, None, 3)
    fixed = SCNet((1, 1, 1, 1), include_top=False, input_shape=(size, size, 3))
    fixed.set_weights(backbone.get_weights())
    x = stand_in.image(size)
    expected = to_numpy(fixed(x))
    assert expected.shape == (2, 1, 1, 2048)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(to_numpy(backbone(x)), expected, atol=1e-5)


def test_output_stride_8_dilates_the_blocks():
    """A stage that gives up its stride keeps the dilation before in its first block."""
    model = SCNet((1, 1, 2, 2), "v1d", output_stride=8, include_top=False)
    assert [(b.strides, b.dilation_rate, b.average_pool) for b in blocks(model)] == [
        (1, 1, False),
        (2, 1, True),
        (1, 1, True),
        (1, 2, False),
        (1, 2, True),
        (1, 4, False),
    ]
    assert {block.average_shortcut for block in blocks(model)} == {True}


def test_arguments_are_passed_to_the_blocks():
    model = SCNet((1, 1, 1, 1), None, "bilinear", include_top=False)
    assert [(b.width, b.filters) for b in blocks(model)] == [
        (32, 256),
        (64, 512),
        (128, 1024),
        (256, 2048),
    ]
    assert {block.upsampling for block in blocks(model)} == {"bilinear"}
    assert {block.average_pool or block.average_shortcut for block in blocks(model)} == {False}
    assert model.name == "scnet1_1_1_1"


def test_sized_constructors_and_entries():
    assert [inspect.signature(f).parameters["depth"].default for f in (SCNet50, SCNet101)] == [
        50,
        101,
    ]
    names = {entry.name: entry for entry in ENTRIES}
    assert list(names) == ["scnet50", "scnet101", "scnet50_v1d", "scnet101_v1d"]
    for name, entry in names.items():
        assert bool(entry.source) == (name != "scnet101_v1d")
        if entry.source:
            assert entry.source.name == f"{name}-{entry.source.sha256}.pth"
            assert entry.source.parameters == entry.parameters
            assert entry.source.license.startswith("MIT")


def test_preprocess_input_scales_as_torchvision():
    white = np.full((1, 1, 1, 3), 255, "uint8")
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    outputs = to_numpy(SCNet.preprocess_input(white, "channels_last")).ravel()
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 34}, "depth must be one of 50, 101, 152; received 34"),
        ({"variant": "v1b"}, "variant must be one of None, 'v1d'; received 'v1b'"),
        ({"upsampling": "cubic"}, "upsampling must be one of 'nearest', 'bilinear'"),
        ({"padding": "valid"}, "padding must be"),
        ({"output_stride": 4}, "output_stride must be one of 8, 16, 32"),
        ({"input_shape": (31, 64, 3)}, "at least 32×32"),
        ({"weights": "imagenet", "depth": 101, "variant": "v1d"}, "No public ImageNet weights"),
        ({"weights": "imagenet", "upsampling": "bilinear"}, "No public ImageNet weights"),
        ({"weights": "imagenet", "padding": "same"}, 'pass padding="symmetric"'),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        SCNet(**arguments)
