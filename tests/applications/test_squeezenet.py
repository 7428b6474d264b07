import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications.squeezenet import ENTRIES, SqueezeNet
from kdl.graph.macs import macs
from kdl.testing import run_model_test

# Sizes that meet every case of a pool's last window: even, odd, and one of each.
SIZES = [(44, 50), (47, 47)]


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def features(model, x, pools):
    """The network to its last feature map, in plain PyTorch, from the weights of `model`; NHWC."""
    import torch
    from torch.nn import functional as F

    weights = {}
    for layer in model.layers:
        for w in layer.weights:
            path = w.path[w.path.index(layer.name) :]
            weights[path] = torch.tensor(to_numpy(w))

    def conv(x, name, stride=1):
        kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1)
        padding = kernel.shape[-1] // 2 if stride == 1 else 0
        return F.conv2d(x, kernel, weights[f"{name}/bias"], stride, padding)

    def pool(x):
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    x = pool(F.relu(conv(torch.tensor(x.transpose(0, 3, 1, 2)), "stem_conv", 2)))
    for fire in range(2, 10):
        squeezed = F.relu(conv(x, f"fire{fire}/squeeze"))
        expanded = [F.relu(conv(squeezed, f"fire{fire}/expand{k}x{k}")) for k in (1, 3)]
        y = torch.cat(expanded, 1)
        if f"fire{fire}/shortcut/kernel" in weights:
            y = y + conv(x, f"fire{fire}/shortcut")
        elif model.get_config()["bypass"] and fire % 2:
            y = y + x
        x = pool(y) if fire in pools else y
    return x.numpy().transpose(0, 2, 3, 1)


def with_biases(model):
    """Gives the biases values, and the shortcuts such that they can give negative ones."""
    rng = np.random.default_rng(0)
    for w in model.weights:
        if w.path.endswith("bias"):
            w.assign(0.1 * rng.standard_normal(w.shape))
        elif "shortcut" in w.path:
            w.assign(-np.abs(to_numpy(w)))
    return model


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("version", "bypass", "pools"),
    [("1.1", "complex", (3, 5)), ("1.0", "simple", (4, 8))],
)
def test_outputs_match_the_definition(version, bypass, pools):
    model = with_biases(SqueezeNet(version, bypass, include_top=False))
    for height, width in SIZES:
        x = stand_in.image(50)[:1, :height, :width]
        expected = features(model, x, pools)
        fixed = SqueezeNet(version, bypass, include_top=False, input_shape=x.shape[1:])
        fixed.set_weights(model.get_weights())
        for net in (model, fixed):
            results = net.predict(x, verbose=0)
            np.testing.assert_allclose(results, expected, atol=1e-5 * np.abs(expected).max())


def test_torchvision_names_load():
    for version, places in (
        ("1.0", (3, 4, 5, 7, 8, 9, 10, 12)),
        ("1.1", (3, 4, 6, 7, 9, 10, 11, 12)),
    ):
        model = SqueezeNet(version, input_shape=(32, 32, 3), classes=4)
        names = model.reference_names()["torchvision"]
        assert names["stem_conv"] == "features.0"
        assert names["classifier"] == "classifier.1"
        results = [names[f"fire{number}/expand3x3"] for number in range(2, 10)]
        assert results == [f"features.{place}.expand3x3" for place in places]
    assert SqueezeNet("1.1", "simple", input_shape=(32, 32, 3)).reference_names() == {}


@pytest.mark.parametrize("size", [47, 50])
def test_dilated_outputs_contain_the_undilated_ones(size):
    arguments = {"version": "1.1", "bypass": "complex", "include_top": False}
    undilated = with_biases(SqueezeNet(**arguments))
    expected = undilated.predict(stand_in.image(size), verbose=0)
    for shape in ((None, None, 3), (size, size, 3)):
        dilated = SqueezeNet(**arguments, output_stride=8, input_shape=shape)
        dilated.set_weights(undilated.get_weights())
        results = dilated.predict(stand_in.image(size), verbose=0)[:, ::2, ::2]
        np.testing.assert_allclose(results, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entries(entry):
    model = entry.constructor(**entry.arguments, input_shape=(32, 32, 3))
    assert model.name == entry.name
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == entry.parameters
    assert bool(entry.source) == (entry.arguments["bypass"] is None)
    if entry.source:
        assert entry.source.parameters == entry.parameters
        assert entry.source.sha256 in entry.source.name


def test_parameters_of_the_complex_bypass():
    """Four 1×1 convolutions with bias more, where the width changes."""
    counts = {entry.name: entry.parameters for entry in ENTRIES}
    for version, stem in (("1_0", 96), ("1_1", 64)):
        pairs = [(stem, 128), (128, 256), (256, 384), (384, 512)]
        more = sum(before * after + after for before, after in pairs)
        undilated, full = (counts[f"squeezenet{version}{b}"] for b in ("", "_complex"))
        assert full - undilated == more


def test_multiply_adds_count_the_unpadded_maps():
    assert round(macs(SqueezeNet("1.1")) / 1e6, 1) == 349.2


@pytest.mark.every_backend
def test_model():
    run_model_test(
        SqueezeNet,
        {"version": "1.1", "bypass": "simple", "classes": 10},
        (2, 34, 41, 3),
        expected_output_shape=(2, 10),
        pyramid_margin=3,
    )


def test_same_padding():
    model = SqueezeNet("1.1", "complex", padding="same", include_top=False, input_shape=(34, 41, 3))
    shapes = [tensor.shape[1:3] for tensor in model.pyramid_outputs.values()]
    assert shapes == [(17, 21), (9, 11), (5, 6), (3, 3)]
    assert model.get_config()["padding"] == "same"


def test_pyramid():
    model = SqueezeNet(include_top=False, input_shape=(224, 224, 3))
    shapes = {name: tensor.shape[1:] for name, tensor in model.pyramid_outputs.items()}
    assert shapes == {
        "P1": (109, 109, 96),
        "P2": (54, 54, 256),
        "P3": (27, 27, 512),
        "P4": (13, 13, 512),
    }
    dilated = SqueezeNet(include_top=False, input_shape=(224, 224, 3), output_stride=8)
    assert list(dilated.pyramid_outputs) == ["P1", "P2", "P3"]
    assert dilated.pyramid_outputs["P3"] is dilated.outputs[0]


@pytest.mark.parametrize(("version", "smallest"), [("1.0", 21), ("1.1", 17)])
def test_smallest_size(version, smallest):
    model = SqueezeNet(version, include_top=False, input_shape=(smallest, smallest, 3))
    assert model.output_shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=f"at least {smallest}×{smallest}"):
        SqueezeNet(version, input_shape=(smallest, smallest - 1, 3))
    same = SqueezeNet(version, padding="same", include_top=False, input_shape=(16, 16, 3))
    assert same.output_shape[1:3] == (1, 1)


@pytest.mark.every_backend
def test_head_under_mixed_precision():
    model = SqueezeNet("1.1", input_shape=(32, 32, 3), classes=4, dtype="mixed_bfloat16")
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.get_layer("dropout").rate == 0.5
    assert model.get_layer("classifier").compute_dtype == "float32"
    assert model.outputs[0].dtype == "float32"


@pytest.mark.every_backend
def test_preprocessing():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), "uint8")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    results = to_numpy(SqueezeNet.preprocess_input(x))
    np.testing.assert_allclose(results, (x / 255 - mean) / std, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"version": 1.0}, r"version must be one of '1.0', '1.1'; received 1.0"),
        ({"bypass": "identity"}, "bypass must be one of None, 'simple', 'complex'"),
        ({"padding": "symmetric"}, "padding must be one of 'valid', 'same'"),
        ({"output_stride": 4}, "output_stride must be"),
        ({"padding": "same", "input_shape": (15, 16, 3)}, "at least 16×16"),
        (
            {"weights": "imagenet", "bypass": "simple", "input_shape": (32, 32, 3)},
            "No public ImageNet weights of squeezenet1_0_simple",
        ),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        SqueezeNet(**arguments)


def test_fresh_weights_keep_the_scale_of_an_image():
    """There is no batch norm: with Keras's default the features would be some 1e-3 of it."""
    keras.utils.set_random_seed(0)
    model = SqueezeNet("1.1", include_top=False, input_shape=(64, 64, 3))
    features = model.predict(stand_in.image(64), verbose=0)
    assert 0.3 < np.sqrt(np.mean(features**2)) < 30
