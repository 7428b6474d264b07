import inspect

import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications import ResNeXt, load_torch_weights
from kdl.applications.resnet import ENTRIES, ResNet
from kdl.applications.resnet_sizes import ResNet50, ResNet101
from kdl.layers import StripPooling
from kdl.testing import run_model_test

SMALL = {"depth": (1, 2, 1, 4), "width": 4, "classes": 3}
OPEN = {"input_shape": (None, None, 3)}


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def blocks(model, stage):
    return [layer for layer in model.layers if layer.name.startswith(f"stage{stage}_")]


def test_model():
    arguments = {"depth": (1, 1, 1, 1), "stem": "deep", "strip_pooling": True}
    arguments |= {"output_stride": 8, "multi_grid": (2,)}
    run_model_test(ResNet, {**SMALL, **arguments}, (2, 32, 40, 3), expected_output_shape=(2, 3))


def test_resnet_matches_resnext_with_one_branch():
    """ResNeXt is proven by golden files; both take torchvision's names."""
    arguments = {"input_shape": (64, 64, 3), "classes": 5, "classifier_activation": None}
    ours = ResNet((1, 2, 1, 1), **arguments)
    counterpart = ResNeXt((1, 2, 1, 1), 1, 64, **arguments)
    state = stand_in.state_for(ours, "torchvision")
    x = stand_in.image(64)
    for model in (ours, counterpart):
        load_torch_weights(model, state)
    expected = to_numpy(counterpart(x))
    np.testing.assert_allclose(to_numpy(ours(x)), expected, atol=1e-5 * expected.std())


def test_dilations_of_the_strip_pooling_network():
    """The stage of dilation 2 begins with 1; the last has 4, 8, 16 and begins again."""
    model = ResNet(**SMALL, **OPEN, output_stride=8, multi_grid=(1, 2, 4))
    assert [block.dilation_rate for block in blocks(model, 3)] == [1]
    assert [block.dilation_rate for block in blocks(model, 4)] == [4, 8, 16, 4]
    dilated = ResNet(**{**SMALL, "depth": (1, 1, 2, 2)}, **OPEN, output_stride=8)
    assert [block.dilation_rate for block in blocks(dilated, 3)] == [1, 2]
    assert [block.dilation_rate for block in blocks(dilated, 4)] == [2, 4]


def test_strip_pooling_is_in_the_blocks_of_the_paper():
    model = ResNet(**{**SMALL, "depth": (2, 2, 3, 3)}, **OPEN, strip_pooling=True)
    outputs = [
        [isinstance(getattr(b, "strips", None), StripPooling) for b in blocks(model, s)]
        for s in (1, 2, 3, 4)
    ]
    assert outputs == [[False, True], [False, True], [False, False, True], [True, True, True]]


def test_deep_stem_loads_torch_weights():
    model = ResNet(**SMALL, **OPEN, stem="deep")
    widths = [
        layer.filters
        for layer in model.layers
        if layer.name.startswith("stem") and layer.name.endswith("conv")
    ]
    assert widths == [4, 4, 8]
    state = stand_in.state_for(model, "encoding")
    load_torch_weights(model, state)
    kernel = to_numpy(model.get_layer("stem3_conv").kernel)
    np.testing.assert_array_equal(kernel, state["conv1.6.weight"].transpose(2, 3, 1, 0))
    assert "layer1.0.downsample.0.weight" in state


def test_stage_outputs_are_distinct_without_strides():
    model = ResNet(**SMALL, input_shape=(32, 32, 3), output_stride=8, include_top=False)
    assert {level: x.shape[1:] for level, x in model.stage_outputs.items()} == {
        "P1": (16, 16, 4),
        "P2": (8, 8, 16),
        "P3": (4, 4, 32),
        "P4": (4, 4, 64),
        "P5": (4, 4, 128),
    }
    assert set(model.pyramid_outputs) == {"P1", "P2", "P3"}
    strided = ResNet(**SMALL, **OPEN, include_top=False)
    assert strided.stage_outputs == strided.pyramid_outputs


def test_default_names_include_the_variant():
    names = [
        ResNet(**SMALL, **OPEN, **arguments).name
        for arguments in ({}, {"stem": "deep"}, {"stem": "deep", "strip_pooling": True})
    ]
    assert names == ["resnet1_2_1_4_w4", "resnet1_2_1_4_w4_deep", "resnet1_2_1_4_w4_deep_strips"]
    assert [entry.name for entry in ENTRIES] == ["resnet50", "resnet101"]


def test_sized_constructors():
    for constructor, depth in ((ResNet50, 50), (ResNet101, 101)):
        assert inspect.signature(constructor).parameters["depth"].default == depth


@pytest.mark.parametrize("other", [{"stem": "deep"}, {"strip_pooling": True}, {"width": 32}])
def test_published_weights_need_the_default_network(other):
    scope = keras.StatelessScope(initialize_variables=False)  # values would take seconds
    with pytest.raises(ValueError, match="No public ImageNet weights"), scope:
        ResNet(50, **other, weights="imagenet", input_shape=(32, 32, 3))
    keras.utils.clear_session()


@pytest.mark.every_backend
def test_frozen_layers_stay_frozen_in_a_saved_file(tmp_path):
    backbone = ResNet(**SMALL, include_top=False, input_shape=(32, 32, 3))
    backbone.trainable = False
    head = keras.layers.Dense(2)
    model = keras.Sequential([backbone, keras.layers.GlobalAveragePooling2D(), head])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_variables) == len(model.trainable_variables) == 2
    backbone.trainable = True
    assert "frozen" not in backbone.get_config()
    backbone.layers[-1].trainable = False
    counterpart = ResNet.from_config(backbone.get_config())
    assert [layer.trainable for layer in counterpart.layers] == [
        layer.trainable for layer in backbone.layers
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 18}, "depth must be one of 50, 101, 152; received 18"),
        ({"width": 0}, "width must be a positive integer; received 0"),
        ({"stem": "big"}, "stem must be one of 'plain', 'deep'; received 'big'"),
        ({"multi_grid": (1, 2)}, "multi_grid multiplies the dilation .* pass 8 or 16"),
        (
            {"multi_grid": (1, 0), "output_stride": 8},
            "each of multi_grid must be a positive integer; received 0",
        ),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**{**SMALL, **OPEN, **arguments})
