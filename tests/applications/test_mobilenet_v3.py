"""What the tests of every family do not cover; features are compared in `detection/test_ssd.py`."""

import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications import MobileNetV3, load_torch_weights
from kdl.applications.mobilenet_v3 import ENTRIES, IMAGENET
from kdl.testing import run_model_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def reference(state, x, blocks):
    """torchvision's network in plain PyTorch, by the names of its tensors.

    `blocks` are stride and activation of each; all else follows from names and shapes.
    """
    import torch
    from torch.nn import functional as F

    state = {name: torch.tensor(value) for name, value in state.items()}

    def unit(x, place, activation=None, stride=1):
        kernel = state[f"{place}.0.weight"]
        groups = kernel.shape[0] if kernel.shape[1] == 1 else 1
        x = F.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2, 1, groups)
        keys = ("running_mean", "running_var", "weight", "bias")
        x = F.batch_norm(x, *(state[f"{place}.1.{key}"] for key in keys), eps=1e-3)
        return x if activation is None else activation(x)

    def gate(x, place):
        y = x.mean((2, 3), keepdim=True)
        y = F.relu(F.conv2d(y, state[f"{place}.fc1.weight"], state[f"{place}.fc1.bias"]))
        y = F.conv2d(y, state[f"{place}.fc2.weight"], state[f"{place}.fc2.bias"])
        return x * torch.clip(y / 6 + 0.5, 0, 1)

    x = unit(torch.tensor(x.transpose(0, 3, 1, 2)), "features.0", F.hardswish, 2)
    for number, (stride, activation) in enumerate(blocks, 1):
        place = f"features.{number}.block"
        parts = sorted({int(n.split(".")[3]) for n in state if n.startswith(f"{place}.")})
        y = x
        for part in parts:
            if f"{place}.{part}.fc1.weight" in state:
                y = gate(y, f"{place}.{part}")
                continue
            in_depth = state[f"{place}.{part}.0.weight"].shape[1] == 1
            last = part == parts[-1]
            y = unit(y, f"{place}.{part}", None if last else activation, stride if in_depth else 1)
        x = x + y if stride == 1 and x.shape == y.shape else y
    x = unit(x, f"features.{len(blocks) + 1}", F.hardswish).mean((2, 3))
    for layer, activation in (("classifier.0", F.hardswish), ("classifier.3", lambda x: x)):
        x = activation(F.linear(x, state[f"{layer}.weight"], state[f"{layer}.bias"]))
    return x.numpy()


def blocks_of(variant):
    import torch.nn.functional as F

    strides, relus = {
        "large": ({2, 4, 7, 13}, 6),
        "small": ({1, 2, 4, 9}, 3),
    }[variant]
    count = {"large": 15, "small": 11}[variant]
    return [
        (2 if n in strides else 1, F.relu if n <= relus else F.hardswish)
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("variant", "reduced_tail", "width"),
    [("large", False, 1280), ("large", True, 640), ("small", False, 1024)],
)
def test_logits_match_plain_pytorch(variant, reduced_tail, width):
    arguments = {"reduced_tail": reduced_tail, "classes": 5, "classifier_activation": None}
    model = MobileNetV3(variant, input_shape=(64, 64, 3), **arguments)
    assert model.get_layer("classifier_hidden").units == width
    state = stand_in.state_for(model, "torchvision")
    load_torch_weights(model, state)
    x = stand_in.image(64)
    expected = reference(state, x, blocks_of(variant))
    logits = model.predict(x, verbose=0)
    assert np.abs(logits - expected).max() <= 1e-4 * expected.std()


def test_names_of_the_large_network_are_those_of_torchvision():
    model = MobileNetV3(include_top=False, input_shape=(32, 32, 3))
    names = model.reference_names()["torchvision"]
    assert names["stem_conv"] == "features.0.0"
    assert names["stage0_block0/depthwise"] == "features.1.block.0.0"
    assert names["stage2_block0/squeeze/expand"] == "features.4.block.2.fc2"
    assert names["stage4_block0_expand_conv"] == "features.13.block.0.0"
    assert names["stage4_block0/project_bn"] == "features.13.block.3.1"
    assert names["head_bn"] == "features.16.1"


def test_pyramid_outputs_end_with_the_expansion_of_the_tail():
    model = MobileNetV3(include_top=False, reduced_tail=True, input_shape=(64, 96, 3))
    shapes = {name: tensor.shape[1:] for name, tensor in model.pyramid_outputs.items()}
    assert shapes == {
        "P1": (32, 48, 16),
        "P2": (16, 24, 24),
        "P3": (8, 12, 40),
        "P4": (4, 6, 672),
        "P5": (2, 3, 480),
    }
    assert model.pyramid_level_inputs["P4"] == "stage4_block0_expand_act"


def test_small_network_has_every_level():
    model = MobileNetV3("small", include_top=False, input_shape=(32, 32, 3))
    assert {k: x.shape[-1] for k, x in model.pyramid_outputs.items()} == {
        "P1": 16,
        "P2": 16,
        "P3": 24,
        "P4": 288,
        "P5": 576,
    }


def test_model():
    run_model_test(
        MobileNetV3,
        {"variant": "small", "alpha": 0.35, "padding": "same", "classes": 10},
        (2, 64, 64, 3),
        expected_output_shape=(2, 10),
    )


def test_variants_names_tell_what_they_are():
    arguments = {"include_top": False, "input_shape": (32, 32, 3)}
    assert MobileNetV3("small", alpha=0.5, **arguments).name == "mobilenet_v3_small_a0_5"
    reduced = MobileNetV3("small", reduced_tail=True, **arguments)
    assert reduced.name == "mobilenet_v3_small_a1_0_reduced"
    assert [entry.name for entry in ENTRIES] == [
        "mobilenet_v3_large_a1_0",
        "mobilenet_v3_small_a1_0",
    ]


def test_norms_have_the_constants_of_torchvision():
    model = MobileNetV3("small", include_top=False, input_shape=(32, 32, 3))
    for name in ("stem_bn", "stage1_block0", "stage4_block0_expand_bn", "head_bn"):
        layer = model.get_layer(name)
        assert (layer.epsilon, layer.momentum) == (1e-3, 0.99)


def test_imagenet_weights_are_those_of_torchvision(monkeypatch):
    asked = []

    def get_file(name, url, **kwargs):
        asked.append(url)
        raise OSError("no network in tests")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.raises(OSError, match="no network"):
        MobileNetV3(weights="imagenet")
    assert asked == [source.url for source in IMAGENET["large"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "medium"}, "variant must be one of 'large', 'small'; received 'medium'"),
        ({"alpha": 0.3}, r"alpha must be one of 0.35, 0.5, 0.75, 1.0, 1.25; received 0.3"),
        ({"padding": "valid"}, "padding must be one of"),
        ({"output_stride": 4}, "output_stride must be"),
        ({"input_shape": (31, 64, 3)}, "at least 32×32"),
        ({"weights": "imagenet", "reduced_tail": True}, "No public ImageNet weights"),
        ({"weights": "imagenet", "variant": "small"}, "No public ImageNet weights"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        MobileNetV3(**arguments)


def test_names_with_the_other_padding_raise():
    model = MobileNetV3("small", padding="same", include_top=False, input_shape=(32, 32, 3))
    with pytest.raises(ValueError, match=r"no names for .* with padding='same'"):
        load_torch_weights(model, {})


def test_preprocessing_scales_as_torchvision():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), "uint8")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scaled = MobileNetV3.preprocess_input(x, data_format="channels_last")
    np.testing.assert_allclose(to_numpy(scaled), (x / 255 - mean) / std, atol=1e-5)
