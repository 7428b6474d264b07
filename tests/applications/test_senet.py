import inspect

import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications import load_torch_weights, macs, senet_sizes
from kdl.applications.resnext import ResNeXt
from kdl.applications.senet import ENTRIES, SEResNet
from kdl.applications.weights.source import WeightSource
from kdl.testing import run_model_test

SMALL = {"depth": (1, 1, 1, 1), "base_width": 8, "input_shape": (32, 32, 3), "classes": 3}
LOGITS = {"classifier_activation": None}

SIZED = {
    "se_resnet50": senet_sizes.SEResNet50,
    "se_resnet101": senet_sizes.SEResNet101,
    "se_resnet152": senet_sizes.SEResNet152,
    "se_resnext50_32x4d": senet_sizes.SEResNeXt50,
    "se_resnext101_32x4d": senet_sizes.SEResNeXt101,
    "senet154": senet_sizes.SENet154,
}


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.fixture(scope="module")
def networks():
    """A small network of each layout, with open input size, all its gates one half.

    An output of such a network depends on the pixels around it alone.
    """
    arguments = {"depth": (1, 1, 1, 2), "base_width": 8, "input_shape": (None, None, 3)}
    models = {x: SEResNet(**arguments, layout=x, classes=3) for x in ("caffe", "timm", "senet")}
    for model in models.values():
        for weight in model.weights:
            if weight.path.endswith("se/expand/kernel"):
                weight.assign(np.zeros(tuple(weight.shape)))
    return models


def test_timm_layout_with_open_gates_matches_resnext():
    """With gates that are open, what remains is ResNeXt, whose parity is tested elsewhere."""
    arguments = {**SMALL, **LOGITS, "input_shape": (65, 65, 3), "cardinality": 1}
    gated, ungated = SEResNet(**arguments, layout="timm"), ResNeXt(**arguments)
    state = stand_in.state_for(gated, "timm")
    for name in state:
        if name.endswith("se.fc2.weight"):
            state[name] *= 0
        if name.endswith("se.fc2.bias"):
            state[name] = np.full_like(state[name], 30.0)
    load_torch_weights(gated, state)
    load_torch_weights(ungated, {n: v for n, v in state.items() if ".se." not in n})
    x = stand_in.image(65)
    expected = to_numpy(ungated(x))
    assert np.abs(to_numpy(gated(x)) - expected).max() <= 1e-5 * expected.std()


@pytest.mark.parametrize(
    ("layout", "billions"), [("caffe", 3.860), ("timm", 4.092)], ids=["caffe", "timm"]
)
def test_multiply_adds(layout, billions):
    model = SEResNet(50, layout=layout, include_top=False)
    assert macs(model, (224, 224, 3)) + 2048 * 1000 == pytest.approx(billions * 1e9, rel=2e-4)


def test_model():
    arguments = {**SMALL, "input_shape": (64, 64, 3)}
    run_model_test(SEResNet, arguments, (2, 64, 64, 3), expected_output_shape=(2, 3))


@pytest.mark.parametrize(
    ("layout", "strided"), [("caffe", "conv1"), ("timm", "conv2"), ("senet", "conv2")]
)
def test_stride(networks, layout, strided):
    block = networks[layout].get_layer("stage2_block0")
    layers = [*block.projection, *block.branches[0], *block.ends]
    outputs = {x.name for x in layers if getattr(x, "strides", None) == (2, 2)}
    assert outputs == {strided, "projection_conv"}


@pytest.mark.parametrize("layout", ["caffe", "senet"])
def test_output_stride(networks, layout):
    model = networks[layout]
    dilated = SEResNet.from_config({**model.get_config(), "output_stride": 8})
    dilated.set_weights(model.get_weights())
    x = stand_in.image(64)
    expected = to_numpy(keras.Model(model.input, model.pyramid_outputs["P5"])(x))
    features = to_numpy(keras.Model(dilated.input, dilated.pyramid_outputs["P3"])(x))
    assert features.shape == (2, 8, 8, 2048)
    np.testing.assert_allclose(features[:, ::4, ::4], expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize(
    ("layout", "stem", "rows"), [("caffe", 64, 16), ("senet", 128, 16), ("timm", 64, 17)]
)
def test_pyramid(networks, layout, stem, rows):
    model = networks[layout]
    shapes = keras.Model(model.input, model.pyramid_outputs).compute_output_shape((1, 65, 64, 3))
    assert shapes["P1"] == (1, 33, 32, stem)
    assert shapes["P2"] == (1, rows, 16, 256)
    assert [shapes[name][3] for name in ("P3", "P4", "P5")] == [512, 1024, 2048]


def test_dropout_in_senet_layout_only(networks):
    outputs = {x: "dropout" in [y.name for y in networks[x].layers] for x in networks}
    assert outputs == {"caffe": False, "timm": False, "senet": True}


@pytest.mark.parametrize("name", SIZED)
def test_sized_constructors(name):
    [entry] = [entry for entry in ENTRIES if entry.name == name]
    parameters = inspect.signature(SIZED[name]).parameters
    assert {key: parameters[key].default for key in entry.arguments} == entry.arguments


def test_entries():
    assert [entry.name for entry in ENTRIES] == list(SIZED)
    for entry in ENTRIES:
        for source in entry.sources:
            assert source.parameters == entry.parameters
            assert source.url.endswith(f"/{source.name}")
            assert source.name.endswith(f"-{source.sha256}.pth")


def test_default_names_include_the_variant(networks):
    assert {layout: model.name for layout, model in networks.items()} == {
        "caffe": "se_resnet1_1_1_2_1x8d",
        "timm": "se_resnet1_1_1_2_1x8d_timm",
        "senet": "senet1_1_1_2_1x8d",
    }


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        ({}, "se_resnet50-ce0d4300.pth"),
        ({"layout": "timm"}, "seresnet50_ra_224-8efdb4bb.pth"),
    ],
)
def test_imagenet(monkeypatch, arguments, file):
    asked = []

    def download(source):
        asked.append(source.name)
        raise OSError("offline")

    monkeypatch.setattr(WeightSource, "download", download)
    with pytest.raises(OSError, match="offline"):
        SEResNet(weights="imagenet", include_top=False, **arguments)
    assert asked == [file]


def test_weights_of_another_layout_raise(networks):
    state = stand_in.state_for(networks["caffe"], "timm")
    with pytest.raises(ValueError, match=r"'conv1.weight' is missing from the state dict"):
        load_torch_weights(networks["timm"], state)
    before = networks["senet"].get_weights()
    with pytest.raises(ValueError, match=r"'layer0.conv1.weight' in the state dict has shape"):
        load_torch_weights(networks["senet"], state)
    for weight, value in zip(networks["senet"].get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.every_backend
def test_preprocessing():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), "uint8")
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    outputs = to_numpy(senet_sizes.SENet154.preprocess_input(x))
    np.testing.assert_allclose(outputs, (x / 255 - mean) / deviation, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 18}, "depth must be one of 50, 101, 152; received 18"),
        ({"depth": (1, 2)}, "or four numbers"),
        ({"cardinality": 0}, "cardinality must be a positive integer"),
        ({"base_width": 0}, "base_width must be a positive integer"),
        ({"layout": "paper"}, "layout must be one of 'caffe', 'timm', 'senet'"),
        ({"output_stride": 4}, "output_stride must be"),
        (
            {"weights": "imagenet", "classes": 1000},
            "No public ImageNet weights of se_resnet1_",
        ),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        SEResNet(**{**SMALL, **arguments})
