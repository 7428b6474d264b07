import inspect

import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications import load_torch_weights
from kdl.applications.resnext import ENTRIES, ResNeXt
from kdl.applications.resnext_sizes import ResNeXt50, ResNeXt101
from kdl.applications.weights.source import WeightSource
from kdl.testing import run_model_test

SMALL = {"depth": (1, 1, 1, 2), "cardinality": 2, "base_width": 4, "classes": 3}
OPEN = {"input_shape": (None, None, 3)}


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.fixture(scope="module")
def model():
    """A small network with stand-in weights that gives logits."""
    network = ResNeXt(**SMALL, **OPEN, classifier_activation=None)
    load_torch_weights(network, stand_in.state_for(network, "torchvision"))
    return network


def test_all_forms_outputs_match(model):
    counterpart = ResNeXt(**SMALL, **OPEN, form="a", classifier_activation=None)
    for ours, theirs in zip(model.layers, counterpart.layers, strict=True):
        source = ours.in_form("a") if ours.name.startswith("stage") else ours
        theirs.set_weights(source.get_weights())
    assert len(counterpart.weights) > len(model.weights)
    assert ResNeXt.from_config(counterpart.get_config()).get_layer("stage1_block0").form == "a"
    x = stand_in.image(64)
    expected = to_numpy(model(x))
    assert np.abs(to_numpy(counterpart(x)) - expected).max() <= 1e-4 * expected.std()


def test_model():
    run_model_test(
        ResNeXt, {**SMALL, "depth": (1, 1, 1, 1)}, (2, 64, 64, 3), expected_output_shape=(2, 3)
    )


@pytest.mark.parametrize("output_stride", [8, 16])
def test_output_stride(model, output_stride):
    dilated = ResNeXt.from_config({**model.get_config(), "output_stride": output_stride})
    dilated.set_weights(model.get_weights())
    x = stand_in.image(64)
    expected = to_numpy(keras.Model(model.input, model.pyramid_outputs["P5"])(x))
    level = {8: "P3", 16: "P4"}[output_stride]
    assert max(dilated.pyramid_outputs) == level
    features = to_numpy(keras.Model(dilated.input, dilated.pyramid_outputs[level])(x))
    step = 32 // output_stride
    assert features.shape == (2, 2 * step, 2 * step, 2048)
    np.testing.assert_allclose(features[:, ::step, ::step], expected, atol=1e-5 * expected.max())


def test_padding_same_outputs_differ(model):
    counterpart = ResNeXt.from_config({**model.get_config(), "padding": "same"})
    counterpart.set_weights(model.get_weights())
    x = stand_in.image(64)
    assert np.abs(to_numpy(counterpart(x)) - to_numpy(model(x))).max() > 1e-3


def test_pyramid(model):
    levels = keras.Model(model.input, model.pyramid_outputs)
    assert levels.compute_output_shape((1, 65, 96, 3)) == {
        "P1": (1, 33, 48, 64),
        "P2": (1, 17, 24, 256),
        "P3": (1, 9, 12, 512),
        "P4": (1, 5, 6, 1024),
        "P5": (1, 3, 3, 2048),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_width": 8}, r"'layer1.0.conv1.weight' in the state dict has shape \(1, 1, 64, 8\)"),
        (
            {"cardinality": 4, "base_width": 2},
            "'layer1.0.conv2.weight' in the state dict has shape",
        ),
        ({"depth": (1, 1, 1, 3)}, "'layer4.2.conv1.weight' is missing from the state dict"),
        ({"depth": (1, 1, 1, 1)}, "the state dict holds 'layer4.1.conv1.weight', which"),
        ({"classes": 4}, "'fc.weight' in the state dict has shape"),
        ({"form": "b"}, "load_torch_weights knows no names for"),
    ],
)
def test_weights_of_another_variant_raise(model, arguments, message):
    other = ResNeXt(**{**SMALL, **OPEN, **arguments})
    before = to_numpy(other.get_layer("stem_conv").kernel)
    with pytest.raises(ValueError, match=message):
        load_torch_weights(other, stand_in.state_for(model, "torchvision"))
    np.testing.assert_array_equal(to_numpy(other.get_layer("stem_conv").kernel), before)


def test_backbone_loads_weights_with_classifier(model):
    backbone = ResNeXt(**SMALL, **OPEN, include_top=False, pooling="avg")
    load_torch_weights(backbone, stand_in.state_for(model, "torchvision"))
    x = stand_in.image(64)
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    np.testing.assert_allclose(to_numpy(backbone(x)), to_numpy(pooled(x)), atol=1e-5)


def test_sized_constructors():
    for constructor, depth, base_width in ((ResNeXt50, 50, 4), (ResNeXt101, 101, 8)):
        parameters = inspect.signature(constructor).parameters
        outputs = [parameters[x].default for x in ("depth", "cardinality", "base_width", "form")]
        assert outputs == [depth, 32, base_width, "c"]


def test_entries():
    assert [entry.name for entry in ENTRIES] == [
        "resnext50_32x4d",
        "resnext101_32x4d",
        "resnext101_32x8d",
        "resnext101_64x4d",
    ]
    for entry in ENTRIES:
        for source in entry.sources:
            assert source.parameters == entry.parameters
            assert source.name == f"{entry.name}-{source.sha256}.pth"
            assert source.url == f"https://download.pytorch.org/models/{source.name}"


def test_imagenet_loads_the_first_weights_of_torchvision(monkeypatch):
    def download(source):
        raise OSError(f"offline: {source.name}")

    monkeypatch.setattr(WeightSource, "download", download)
    with pytest.raises(OSError, match=r"resnext50_32x4d-7cdf4587\.pth"):
        ResNeXt50(weights="imagenet", include_top=False)


@pytest.mark.every_backend
def test_preprocessing():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), "uint8")
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    outputs = to_numpy(ResNeXt.preprocess_input(x))
    np.testing.assert_allclose(outputs, (x / 255 - mean) / deviation, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 18}, "depth must be one of 50, 101, 152; received 18"),
        ({"depth": (1, 1, 1)}, "or four numbers"),
        ({"depth": (1, 1, 0, 1)}, "number of blocks in a stage must be a positive integer"),
        ({"cardinality": 0}, "cardinality must be a positive integer"),
        ({"base_width": 4.0}, "base_width must be a positive integer"),
        ({"form": "d"}, "form must be one of 'a', 'b', 'c'"),
        ({"output_stride": 4}, "output_stride must be"),
        ({"padding": "valid"}, "padding must be"),
        ({"weights": "imagenet"}, "No public ImageNet weights of resnext1_1_1_2_2x4d"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNeXt(**{**SMALL, **arguments})
