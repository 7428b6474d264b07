import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications import ShuffleNetV2, load_torch_weights
from kdl.testing import run_model_test

PARAMETERS = {
    ("torchvision", 0.5): 1_366_792,
    ("torchvision", 1.0): 2_278_604,
    ("torchvision", 1.5): 3_503_624,
    ("torchvision", 2.0): 7_393_996,
    ("megvii", 0.5): 1_365_792,
    ("megvii", 1.0): 2_278_760,
    ("megvii", 1.5): 3_506_720,
    ("megvii", 2.0): 7_402_600,
}


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize(("variant", "alpha"), PARAMETERS)
def test_parameters(variant, alpha):
    model = ShuffleNetV2(alpha, variant, input_shape=(32, 32, 3))
    counted = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert counted == PARAMETERS[variant, alpha]


def test_channels_first_outputs_match_channels_last():
    model = ShuffleNetV2(0.5, include_top=False, input_shape=(64, 64, 3))
    first = ShuffleNetV2(
        0.5, include_top=False, input_shape=(3, 64, 64), data_format="channels_first"
    )
    first.set_weights(model.get_weights())
    x = stand_in.image(64)
    try:
        y = to_numpy(first(x.transpose(0, 3, 1, 2)))
    except Exception:
        assert keras.backend.backend() == "tensorflow"  # has no such convolution on a CPU
        return
    np.testing.assert_allclose(y.transpose(0, 2, 3, 1), to_numpy(model(x)), atol=1e-5)


def megvii_reference(state, x):
    """The authors' network in plain PyTorch, from a state dict with their names; NCHW."""
    import torch
    from torch.nn import functional as F

    state = {name: torch.tensor(value) for name, value in state.items()}

    def conv(x, name, stride=1, depthwise=False):
        kernel = state[f"{name}.weight"]
        groups = len(kernel) if depthwise else 1
        return F.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2, groups=groups)

    def bn(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys), eps=1e-5)

    def unit(x, name, stride):
        main, proj = f"{name}.branch_main", f"{name}.branch_proj"
        passed, branch = (x, x) if stride == 2 else (x[:, 0::2], x[:, 1::2])
        y = F.relu(bn(conv(branch, f"{main}.0"), f"{main}.1"))
        y = bn(conv(y, f"{main}.3", stride, True), f"{main}.4")
        y = F.relu(bn(conv(y, f"{main}.5"), f"{main}.6"))
        if stride == 2:
            passed = bn(conv(passed, f"{proj}.0", 2, True), f"{proj}.1")
            passed = F.relu(bn(conv(passed, f"{proj}.2"), f"{proj}.3"))
        return torch.cat([passed, y], 1)

    x = F.relu(bn(conv(torch.tensor(x), "first_conv.0", 2), "first_conv.1"))
    x = F.max_pool2d(x, 3, 2, 1)
    index = 0
    for repeat in (4, 8, 4):
        for i in range(repeat):
            x = unit(x, f"features.{index}", 2 if i == 0 else 1)
            index += 1
    x = F.relu(bn(conv(x, "conv_last.0"), "conv_last.1"))
    return F.linear(x.mean((2, 3)), state["classifier.0.weight"]).numpy()


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_megvii_variant_outputs_match_pytorch(alpha):
    model = ShuffleNetV2(
        alpha, "megvii", input_shape=(64, 64, 3), classes=20, classifier_activation=None
    )
    state = stand_in.state_for(model, "megvii")
    load_torch_weights(model, state)
    x = stand_in.image(64)
    expected = megvii_reference(state, x.transpose(0, 3, 1, 2))
    assert np.abs(to_numpy(model(x)) - expected).max() <= 1e-4 * expected.std()


@pytest.mark.parametrize(
    ("variant", "padding"),
    [("torchvision", "symmetric"), pytest.param("megvii", "same", marks=pytest.mark.long)],
)
def test_model(variant, padding):
    run_model_test(
        ShuffleNetV2,
        {"alpha": 0.5, "variant": variant, "padding": padding, "classes": 10},
        (2, 64, 64, 3),
        expected_output_shape=(2, 10),
    )


def test_default_inputs():
    assert ShuffleNetV2(0.5).input_shape == (None, 224, 224, 3)
    backbone = ShuffleNetV2(0.5, include_top=False)
    assert backbone.input_shape == (None, None, None, 3)
    assert to_numpy(backbone(stand_in.image(64))).shape == (2, 2, 2, 1024)


def test_pyramid_outputs_have_the_widths_of_the_stages():
    model = ShuffleNetV2(1.0, include_top=False, input_shape=(64, 96, 3))
    shapes = {name: tensor.shape[1:] for name, tensor in model.pyramid_outputs.items()}
    assert shapes == {
        "P1": (32, 48, 24),
        "P2": (16, 24, 24),
        "P3": (8, 12, 116),
        "P4": (4, 6, 232),
        "P5": (2, 3, 1024),
    }


def test_input_tensor_and_pooling():
    inputs = keras.Input((64, 64, 1))
    model = ShuffleNetV2(0.5, include_top=False, input_tensor=inputs, pooling="max")
    assert model.output_shape == (None, 1024)
    assert model.inputs[0] is inputs
    assert ShuffleNetV2.from_config(model.get_config()).input_shape == (None, 64, 64, 1)


@pytest.mark.every_backend
def test_mixed_precision_policy_survives_from_config():
    model = ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=4, dtype="mixed_bfloat16")
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.get_layer("classifier").compute_dtype == "float32"
    counterpart = ShuffleNetV2.from_config(model.get_config())
    assert counterpart.get_layer("stage2_unit0").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.every_backend
def test_preprocessing():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), "uint8")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    unchanged = x.copy()
    np.testing.assert_allclose(
        to_numpy(ShuffleNetV2.preprocess_input(x)), (x / 255 - mean) / std, atol=1e-5
    )
    np.testing.assert_array_equal(x, unchanged)
    floats = x.astype("float32")
    ShuffleNetV2.preprocess_input(floats)
    np.testing.assert_array_equal(floats, unchanged)
    megvii = to_numpy(ShuffleNetV2.preprocess_input(x, variant="megvii"))
    np.testing.assert_array_equal(megvii, x[..., ::-1].astype("float32"))
    with pytest.raises(ValueError, match="variant must be"):
        ShuffleNetV2.preprocess_input(x, variant="paper")


def test_decode_predictions(monkeypatch):
    """They are Keras's, which gets the names of the classes from the network."""
    asked = []

    def decode(predictions, top=5):
        asked.append(top)
        order = predictions[0].argsort()[::-1][:top]
        return [[(f"n{i:08d}", f"thing {i}", predictions[0, i]) for i in order]]

    scores = np.zeros((1, 1000))
    scores[0, 7], scores[0, 3] = 0.9, 0.1
    with monkeypatch.context() as patch:
        patch.setattr(keras.applications.imagenet_utils, "decode_predictions", decode)
        [[first, second]] = ShuffleNetV2.decode_predictions(scores, top=2)
        assert len(ShuffleNetV2.decode_predictions(scores)[0]) == 5
    assert (first[1:], second[1:]) == (("thing 7", 0.9), ("thing 3", 0.1))
    assert asked == [2, 5]
    with pytest.raises(ValueError, match="1000"):
        ShuffleNetV2.decode_predictions(np.zeros((1, 10)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.75}, r"alpha must be one of 0.5, 1.0, 1.5, 2.0; received 0.75"),
        ({"depth": 101, "alpha": 1.0}, "depth must be one of None, 50, 164"),
        ({"depth": 50}, "comes in one width"),
        ({"squeeze_ratio": 16}, "for the deep networks"),
        ({"output_stride": 4}, "output_stride must be one of 8, 16, 32"),
        ({"variant": "paper"}, "variant must be"),
        ({"padding": "valid"}, "padding must be"),
        ({"input_shape": (31, 64, 3)}, "at least 32×32"),
        ({"input_shape": (64, 64)}, "three numbers"),
        ({"input_shape": (64, 64, None)}, "channels must be known"),
        ({"classes": 0}, "classes must be a positive integer"),
        ({"include_top": False, "pooling": "mean"}, "pooling must be"),
        ({"weights": "imagenet", "variant": "megvii"}, "No public ImageNet weights"),
        ({"weights": "imagenet", "classes": 10}, "needs classes=1000"),
        ({"weights": __file__}, "expected a file that ends in"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShuffleNetV2(**{"alpha": 0.5, **arguments})


def test_bad_input_tensor_raises():
    inputs = keras.Input((64, 64, 3))
    with pytest.raises(ValueError, match=r"must be a keras.Input"):
        ShuffleNetV2(0.5, input_tensor=keras.layers.Rescaling(2.0)(inputs))
    with pytest.raises(ValueError, match="contradicts"):
        ShuffleNetV2(0.5, input_tensor=inputs, input_shape=(32, 32, 3))


def test_missing_weights_file_raises():
    with pytest.raises(FileNotFoundError, match="no such file"):
        ShuffleNetV2(0.5, weights="missing.pth")


@pytest.mark.long
@pytest.mark.every_backend
def test_saved_model_loads_after_import_kdl_alone(tmp_path):
    import subprocess
    import sys

    model = ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=3)
    model.save(tmp_path / "model.keras")
    code = (
        "import kdl, sys; assert 'keras' not in sys.modules; import keras; "
        f"print(keras.models.load_model({str(tmp_path / 'model.keras')!r}).count_params())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == model.count_params()


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_outputs_contain_the_strided_ones(output_stride):
    """Every n-th pixel of the dilated network is the strided network's."""
    arguments = {"alpha": 0.5, "include_top": False, "input_shape": (64, 64, 3)}
    strided = ShuffleNetV2(**arguments)
    dilated = ShuffleNetV2(**arguments, output_stride=output_stride)
    load_torch_weights(strided, state := stand_in.state_for(strided, "torchvision"))
    load_torch_weights(dilated, state)
    x, step = stand_in.image(64), 32 // output_stride
    y = to_numpy(dilated(x))
    assert y.shape == (2, 64 // output_stride, 64 // output_stride, 1024)
    np.testing.assert_allclose(y[:, ::step, ::step], to_numpy(strided(x)), rtol=1e-4, atol=1e-4)
    assert set(dilated.pyramid_outputs) == {f"P{n}" for n in range(1, 4 + output_stride // 16)}


@pytest.mark.parametrize(("depth", "squeeze_ratio"), [(50, None), (164, 16)])
def test_deep_networks_first_stage_has_stride_1(depth, squeeze_ratio):
    model = ShuffleNetV2(
        depth=depth, squeeze_ratio=squeeze_ratio, include_top=False, input_shape=(64, 64, 3)
    )
    levels = {name: tensor.shape[1:] for name, tensor in model.pyramid_outputs.items()}
    widths = {50: (64, 244, 488, 976, 2048), 164: (128, 340, 680, 1360, 2048)}[depth]
    assert [levels[f"P{n}"] for n in range(1, 6)] == [
        (32 >> i, 32 >> i, width) for i, width in enumerate(widths)
    ]
    assert model.get_layer("stage2_unit1").residual == (depth == 164)
