import inspect

import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications.res2net import ENTRIES, Res2Net
from kdl.applications.res2net_sizes import Res2Net50, Res2Net101, Res2NeXt50
from kdl.testing import run_model_test

SMALL = {"depth": (1, 1, 1, 1), "base_width": 8, "scale": 2, "classes": 4}

NAMES = [
    "res2net50_26w_4s",
    "res2net50_26w_6s",
    "res2net50_26w_8s",
    "res2net50_48w_2s",
    "res2net50_14w_8s",
    "res2net101_26w_4s",
    "res2next50",
    "res2net50_v1b_26w_4s",
    "res2net101_v1b_26w_4s",
    "res2net152_v1b_26w_4s",
]


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def blocks(model):
    return [layer for layer in model.layers if layer.name.startswith("stage")]


def test_model():
    arguments = {"variant": "v1b", "padding": "same", "cardinality": 2}
    run_model_test(
        Res2Net,
        {**SMALL, **arguments, "output_stride": 16},
        (2, 40, 33, 3),
        expected_output_shape=(2, 4),
    )


def test_dilated_outputs_contain_the_undilated_ones():
    """Up to stride 16: no average sees a map whose pixels are further apart than they were."""
    arguments = {**SMALL, "depth": (1, 1, 1, 2), "include_top": False}
    undilated = Res2Net(**arguments)
    dilated = Res2Net(**arguments, output_stride=16)
    dilated.set_weights(undilated.get_weights())
    x = stand_in.image(65)
    expected = to_numpy(undilated(x))
    outputs = to_numpy(dilated(x))[:, ::2, ::2]
    np.testing.assert_allclose(outputs, expected, atol=1e-5 * np.abs(expected).max())


def test_arguments_are_passed_to_the_blocks():
    """A stage that gives up its stride keeps the dilation before in its first block."""
    model = Res2Net((1, 1, 2, 2), 4, 3, 2, "v1b", output_stride=8, include_top=False)
    assert [(b.strides, b.dilation_rate, b.stage_start) for b in blocks(model)] == [
        (1, 1, True),
        (2, 1, True),
        (1, 1, True),
        (1, 2, False),
        (1, 2, True),
        (1, 4, False),
    ]
    assert [block.width for block in blocks(model)] == [8, 16, 32, 32, 64, 64]
    same = {(b.scale, b.cardinality, b.average_shortcut) for b in blocks(model)}
    assert same == {(3, 2, True)}
    assert model.name == "res2next1_1_2_2_v1b_2x4w_3s"


def test_sized_constructors():
    parameters = inspect.signature(Res2NeXt50).parameters
    assert [parameters[name].default for name in ("depth", "base_width", "cardinality")] == [
        50,
        4,
        8,
    ]
    assert [inspect.signature(f).parameters["depth"].default for f in (Res2Net50, Res2Net101)] == [
        50,
        101,
    ]


def test_entries():
    assert [entry.name for entry in ENTRIES] == NAMES
    for entry in ENTRIES:
        assert bool(entry.source) == (entry.arguments["depth"] != 152)
        if entry.source:
            assert entry.source.name.startswith(entry.name)
            assert entry.source.sha256 in entry.source.name
            assert entry.source.parameters == entry.parameters
            assert "non-commercial" in entry.source.license
            assert entry.source.restricted


def test_preprocess_input_scales_as_torchvision():
    white = np.full((1, 1, 1, 3), 255, "uint8")
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    outputs = to_numpy(Res2Net.preprocess_input(white, "channels_last")).ravel()
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 34}, "depth must be one of 50, 101, 152; received 34"),
        ({"base_width": 0}, "base_width must be a positive integer; received 0"),
        ({"scale": 1}, "scale must be at least 2"),
        ({"cardinality": 0}, "cardinality must be a positive integer; received 0"),
        ({"variant": "v1d"}, "variant must be one of None, 'v1b'; received 'v1d'"),
        ({"padding": "valid"}, "padding must be"),
        ({"input_shape": (31, 64, 3)}, "at least 32×32"),
        ({"weights": "imagenet", "scale": 5}, "No public ImageNet weights"),
        ({"weights": "imagenet", "padding": "same"}, 'pass padding="symmetric"'),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        Res2Net(**arguments)
