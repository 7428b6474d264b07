import re

import keras
import numpy as np
import pytest
from golden import keras_twin, stand_in

from kdl.applications import load_keras_weights, load_torch_weights
from kdl.applications.mobilenet_v2 import ENTRIES, IMAGENET, MobileNetV2
from kdl.testing import run_model_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def outputs_of(model, x):
    """Compiled as one: with JAX much faster than one operation after the other."""
    return model.predict(x, verbose=0)


def name_in_files(layer):
    """The name in the published files of a layer of `keras.applications`, from its name today."""
    layer = layer.replace("predictions", "Logits").replace("expanded_conv", "block_0")
    layer = re.sub(r"block_(\d+)_(\w+)_BN", r"bn\1_conv_\1_bn_\2", layer)
    return re.sub(r"block_(\d+)_(\w+)", r"mobl\1_conv_\1_\2", layer)


@pytest.fixture(scope="module")
def counterpart():
    """The network of `keras.applications` with random weights, pixels, and its logits for them."""
    network = keras.applications.MobileNetV2(
        (64, 96, 3), 0.35, weights=None, classes=20, classifier_activation=None
    )
    keras_twin.randomize(network)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), "uint8")
    scaled = keras.applications.mobilenet_v2.preprocess_input(pixels.astype("float32"))
    return network, pixels, outputs_of(network, scaled)


def of_twin(**arguments):
    arguments = {"input_shape": (64, 96, 3), "classes": 20, **arguments}
    return MobileNetV2(0.35, padding="same", classifier_activation=None, **arguments)


def error_of(model, pixels, expected):
    logits = outputs_of(model, model.preprocess_input(pixels, padding="same"))
    return np.abs(logits - expected).max() / expected.std()


@pytest.fixture
def no_values():
    """Weights get shapes but no values, which take most of the time of building a model."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session()  # else the next scope would give them values


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entries(entry, no_values):
    model = entry.constructor(**entry.arguments, input_shape=(32, 32, 3))
    assert model.name == entry.name
    counted = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert counted == entry.parameters
    for source in entry.sources:
        assert source.parameters == entry.parameters
        assert source.sha256 is None or source.sha256 in source.name


def test_outputs_from_pixels_match_keras_applications(counterpart):
    network, pixels, expected = counterpart
    model = of_twin()
    load_keras_weights(model, network)
    assert error_of(model, pixels, expected) <= 1e-4


def name_of_2018(layer):
    """The name at the time when the blocks were called as today, and the classifier was not."""
    return layer.replace("predictions", "Logits")


@pytest.mark.parametrize("rename", [name_in_files, name_of_2018, str])
def test_outputs_from_a_keras_file_match(counterpart, tmp_path, rename):
    network, pixels, expected = counterpart
    keras_twin.write_h5(network, tmp_path / "weights.h5", rename)
    model = of_twin(weights=str(tmp_path / "weights.h5"))
    assert error_of(model, pixels, expected) <= 1e-4


@pytest.mark.parametrize("rename", [name_in_files, name_of_2018])
def test_backbone_loads_a_keras_file_with_classifier(counterpart, tmp_path, rename):
    network = counterpart[0]
    keras_twin.write_h5(network, tmp_path / "weights.h5", rename)
    model = of_twin(weights=str(tmp_path / "weights.h5"), include_top=False)
    np.testing.assert_array_equal(
        to_numpy(model.get_layer("head_bn").gamma), to_numpy(network.get_layer("Conv_1_bn").gamma)
    )


def test_names_in_keras_files():
    assert name_in_files("Conv1") == "Conv1"
    assert name_in_files("expanded_conv_depthwise") == "mobl0_conv_0_depthwise"
    assert name_in_files("block_12_expand_BN") == "bn12_conv_12_bn_expand"


@pytest.mark.filterwarnings("ignore:.*no SHA-256")
@pytest.mark.parametrize(
    ("alpha", "padding", "url", "top1"),
    [
        (1.0, "symmetric", "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", 71.878),
        (
            1.0,
            "same",
            "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
            71.8,
        ),
        (0.35, "symmetric", None, None),
    ],
)
def test_imagenet_weights_of_the_padding_are_loaded(monkeypatch, alpha, padding, url, top1):
    asked = []

    def get_file(name, url, **kwargs):
        asked.append(url)
        raise OSError("no network in tests")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    expected = OSError if url else ValueError
    with pytest.raises(expected, match="no network" if url else 'pass padding="same"'):
        MobileNetV2(alpha, padding=padding, weights="imagenet")
    assert asked == ([url] if url else [])
    if url:
        assert [s.top1 for s in IMAGENET[alpha] if s.url == url] == [top1]


@pytest.mark.parametrize(
    ("padding", "constants"), [("symmetric", (1e-5, 0.9)), ("same", (1e-3, 0.999))]
)
def test_batch_norm_constants_follow_the_padding(padding, constants):
    model = MobileNetV2(0.35, padding=padding, include_top=False)
    for name in ("stem_bn", "stage1_block0", "head_bn"):
        layer = model.get_layer(name)
        assert (layer.epsilon, layer.momentum) == constants


def test_model():
    run_model_test(
        MobileNetV2,
        {"alpha": 0.35, "padding": "same", "classes": 10},
        (2, 64, 64, 3),
        expected_output_shape=(2, 10),
    )


def test_dilated_outputs_contain_the_undilated_ones():
    size = 65
    wide, narrow = (
        MobileNetV2(0.35, output_stride=n, include_top=False, input_shape=(size, size, 3))
        for n in (32, 8)
    )
    keras_twin.randomize(wide)
    narrow.set_weights(wide.get_weights())
    x = stand_in.image(size)
    expected, outputs = outputs_of(wide, x), outputs_of(narrow, x)
    assert outputs.shape[1] == -(-size // 8)
    np.testing.assert_allclose(outputs[:, ::4, ::4], expected, atol=1e-4 * expected.std())


def test_pyramid_outputs_have_the_widths_of_the_stages():
    model = MobileNetV2(1.0, include_top=False, input_shape=(64, 96, 3))
    shapes = {name: tensor.shape[1:] for name, tensor in model.pyramid_outputs.items()}
    assert shapes == {
        "P1": (32, 48, 16),
        "P2": (16, 24, 24),
        "P3": (8, 12, 32),
        "P4": (4, 6, 96),
        "P5": (2, 3, 1280),
    }


@pytest.mark.every_backend
def test_preprocessing():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), "uint8")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    torch_scaled = MobileNetV2.preprocess_input(x, data_format="channels_last")
    np.testing.assert_allclose(torch_scaled, (x / 255 - mean) / std, atol=1e-5)
    tf_scaled = MobileNetV2.preprocess_input(x, padding="same")
    np.testing.assert_allclose(tf_scaled, x / 127.5 - 1, atol=1e-6)
    with pytest.raises(ValueError, match="padding must be"):
        MobileNetV2.preprocess_input(x, padding="tf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.3}, r"alpha must be one of 0.35, 0.5, 0.75, 1.0, 1.3, 1.4; received 0.3"),
        ({"padding": "valid"}, "padding must be one of 'symmetric', 'same'"),
        ({"output_stride": 4}, "output_stride must be"),
        ({"input_shape": (31, 64, 3)}, "at least 32×32"),
        ({"weights": "imagenet", "alpha": 1.0, "classes": 10}, "needs classes=1000"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        MobileNetV2(**{"alpha": 0.35, **arguments})


def test_weights_of_the_other_padding_raise(counterpart):
    network, *_ = counterpart
    arguments = {"alpha": 0.35, "input_shape": (64, 64, 3), "classes": 7}
    with pytest.raises(ValueError, match=r"no names for .* with padding='symmetric'"):
        load_keras_weights(MobileNetV2(**arguments, padding="symmetric"), network)
    with pytest.raises(ValueError, match=r"no names for .* with padding='same'"):
        load_torch_weights(MobileNetV2(**arguments, padding="same"), {})
