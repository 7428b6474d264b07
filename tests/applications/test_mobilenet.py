import keras
import numpy as np
import pytest
from golden import keras_twin, stand_in

from kdl.applications import load_keras_weights, load_torch_weights
from kdl.applications.mobilenet import ENTRIES, IMAGENET, MobileNet
from kdl.testing import run_model_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def outputs_of(model, x):
    """Compiled as one: with JAX much faster than one operation after the other."""
    return model.predict(x, verbose=0)


@pytest.fixture(scope="module")
def counterpart():
    """The network of `keras.applications` with random weights, pixels, and its logits for them."""
    network = keras.applications.MobileNet(
        (64, 96, 3), 0.25, weights=None, classes=20, classifier_activation=None
    )
    keras_twin.randomize(network)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), "uint8")
    scaled = keras.applications.mobilenet.preprocess_input(pixels.astype("float32"))
    return network, pixels, outputs_of(network, scaled)


def of_twin(**arguments):
    arguments = {"input_shape": (64, 96, 3), "classes": 20, **arguments}
    return MobileNet(0.25, padding="same", classifier_activation=None, **arguments)


def error_of(model, pixels, expected):
    logits = outputs_of(model, model.preprocess_input(pixels))
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
    assert counted == entry.parameters == entry.source.parameters


def test_outputs_from_pixels_match_keras_applications(counterpart):
    network, pixels, expected = counterpart
    model = of_twin()
    load_keras_weights(model, network)
    assert error_of(model, pixels, expected) <= 1e-4


@pytest.mark.parametrize("whole", [False, True])
def test_outputs_from_a_keras_file_match(counterpart, tmp_path, whole):
    network, pixels, expected = counterpart
    keras_twin.write_h5(network, tmp_path / "weights.h5", whole=whole)
    model = of_twin(weights=str(tmp_path / "weights.h5"))
    assert error_of(model, pixels, expected) <= 1e-4


def test_file_of_another_width_raises(counterpart, tmp_path):
    keras_twin.write_h5(counterpart[0], tmp_path / "weights.h5")
    with pytest.raises(ValueError, match=r"conv1.kernel.* has shape \(3, 3, 3, 8\)"):
        MobileNet(1.0, padding="same", weights=str(tmp_path / "weights.h5"), classes=20)


def test_imagenet_weights_of_the_width_are_loaded(counterpart, tmp_path, monkeypatch):
    network = keras.applications.MobileNet((32, 32, 3), 0.25, weights=None)
    keras_twin.write_h5(keras_twin.randomize(network), tmp_path / "file.h5")
    asked = []

    def get_file(name, url, **kwargs):
        asked.append(url)
        return str(tmp_path / "file.h5")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.warns(UserWarning, match="no SHA-256"):
        model = MobileNet(0.25, padding="same", weights="imagenet", include_top=False)
    assert asked == [
        "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"
        "mobilenet_2_5_224_tf.h5"
    ]
    np.testing.assert_array_equal(
        to_numpy(model.get_layer("stem_conv").kernel), to_numpy(network.get_layer("conv1").kernel)
    )


def test_imagenet_weights_of_another_padding_raise(monkeypatch):
    monkeypatch.setattr(keras.utils, "get_file", lambda *_, **__: pytest.fail("downloads"))
    with pytest.raises(ValueError, match='with padding="symmetric" are known: pass padding="same"'):
        MobileNet(0.25, weights="imagenet")
    with pytest.raises(ValueError, match="needs classes=1000"):
        MobileNet(0.25, padding="same", weights="imagenet", classes=10)


def test_sources_are_of_tensorflow_padding():
    assert {s.padding for sources in IMAGENET.values() for s in sources} == {"same"}
    assert len({s.url for sources in IMAGENET.values() for s in sources}) == 4


@pytest.mark.parametrize(
    ("padding", "constants"), [("symmetric", (1e-5, 0.9)), ("same", (1e-3, 0.99))]
)
def test_batch_norm_constants_follow_the_padding(padding, constants):
    model = MobileNet(0.25, padding=padding, include_top=False)
    block = model.get_layer("stage1_block0")
    assert (block.epsilon, block.momentum) == constants
    stem = model.get_layer("stem_bn")
    assert (stem.epsilon, stem.momentum) == constants


def test_model():
    run_model_test(
        MobileNet,
        {"alpha": 0.25, "activation": "relu", "classes": 10},
        (2, 64, 64, 3),
        expected_output_shape=(2, 10),
    )


def test_dilated_outputs_contain_the_undilated_ones():
    size = 65
    wide, narrow = (
        MobileNet(0.25, output_stride=n, include_top=False, input_shape=(size, size, 3))
        for n in (32, 8)
    )
    keras_twin.randomize(wide)
    narrow.set_weights(wide.get_weights())
    x = stand_in.image(size)
    expected, outputs = outputs_of(wide, x), outputs_of(narrow, x)
    assert outputs.shape[1] == -(-size // 8)
    np.testing.assert_allclose(outputs[:, ::4, ::4], expected, atol=1e-4 * expected.std())


def test_pyramid_outputs_have_the_widths_of_the_stages():
    model = MobileNet(0.25, include_top=False, input_shape=(64, 96, 3))
    shapes = {name: tensor.shape[1:] for name, tensor in model.pyramid_outputs.items()}
    assert shapes == {
        "P1": (32, 48, 16),
        "P2": (16, 24, 32),
        "P3": (8, 12, 64),
        "P4": (4, 6, 128),
        "P5": (2, 3, 256),
    }


def test_activation():
    model = MobileNet(0.25, "relu", include_top=False)
    assert model.get_layer("stem_relu").max_value is None
    assert model.get_layer("stage3_block2").activation == "relu"
    assert MobileNet(0.25, include_top=False).get_layer("stem_relu").max_value == 6.0


@pytest.mark.every_backend
def test_dropout():
    assert MobileNet(0.25, input_shape=(32, 32, 3)).get_layer("dropout").rate == 0.001
    model = MobileNet(0.25, dropout=0.0, input_shape=(32, 32, 3))
    assert "dropout" not in [layer.name for layer in model.layers]


@pytest.mark.every_backend
def test_preprocessing():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), "uint8")
    np.testing.assert_allclose(MobileNet.preprocess_input(x), (x / 255 - 0.5) / 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.3}, r"alpha must be one of 0.25, 0.5, 0.75, 1.0; received 0.3"),
        ({"activation": "swish"}, "activation must be one of 'relu6', 'relu'"),
        ({"padding": "valid"}, "padding must be one of 'symmetric', 'same'"),
        ({"output_stride": 4}, "output_stride must be"),
        ({"input_shape": (31, 64, 3)}, "at least 32×32"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        MobileNet(**{"alpha": 0.25, **arguments})


def test_weights_of_the_other_padding_raise(counterpart):
    network, *_ = counterpart
    arguments = {"alpha": 0.25, "input_shape": (64, 64, 3), "classes": 7}
    with pytest.raises(ValueError, match=r"no names for .* with padding='symmetric'"):
        load_keras_weights(MobileNet(**arguments, padding="symmetric"), network)
    with pytest.raises(ValueError, match=r"no names for .* with padding='same'"):
        load_torch_weights(MobileNet(**arguments, padding="same"), {})
