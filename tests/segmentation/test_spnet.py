import keras
import numpy as np
import pytest
from golden import torch_plain

from kdl.applications import MobileNetV2, ResNet, ShuffleNetV2, macs
from kdl.compression import flatten
from kdl.metrics import MeanIoU
from kdl.segmentation import SPNet, SPNet50, SPNet101
from kdl.testing import run_export_test, run_model_test
from kdl.testing._randomized_weights import randomize_weights

HEAD = {"classes": 4, "width": 8, "pool_sizes": (3, 2)}
BRIEF = {"classes": 4, "width": 8, "pool_sizes": (3,), "modules": 1}
VOID = 255


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def backbone(**arguments):
    defaults = {"depth": (1, 1, 1, 1), "width": 4}
    defaults |= {"output_stride": 8, "include_top": False, "input_shape": (32, 40, 3)}
    return ResNet(**{**defaults, **arguments})


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def as_config(model):
    return keras.saving.serialize_keras_object(model)


def test_model():
    run_model_test(
        SPNet,
        {"backbone": as_config(backbone()), **BRIEF, "auxiliary": False},
        (2, 32, 40, 3),
        expected_output_shape=(2, 32, 40, 4),
        pyramid=False,
    )


@pytest.fixture
def no_values():
    """Weights get shapes but no values, which take most of the time of building a model."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session()  # else the next scope would give them values


@pytest.mark.parametrize(
    ("build", "strips", "parameters"),
    [
        (SPNet50, True, 47_838_124),
        (SPNet50, False, 41_721_068),
        (SPNet101, True, 66_830_252),
        (SPNet101, False, 60_713_196),
    ],
)
def test_parameters_match_the_authors_networks(build, strips, parameters, no_values):
    """With 150 classes; the auxiliary head has 2,398,358, the main one 15,690,902."""
    model = build((64, 64, 3), strip_pooling=strips)
    heads = {"main": 0, "auxiliary": 0}
    total = 0
    for weight in model.trainable_weights:
        size = int(np.prod(weight.shape))
        total += size
        layer = weight.path.split("/")[0]
        if layer.startswith("auxiliary"):
            heads["auxiliary"] += size
        elif layer.startswith(("head", "mixed_pooling", "classifier")):
            heads["main"] += size
    assert total == parameters
    assert heads == {"main": 15_690_902, "auxiliary": 2_398_358}


def test_default_size_in_either_format(no_values):
    """480 pixels in height and width, whatever the order of the axes."""
    for data_format, shape in (("channels_last", (480, 480, 3)), ("channels_first", (3, 480, 480))):
        model = SPNet50(strip_pooling=False, auxiliary=False, data_format=data_format)
        assert model.input_shape == (None, *shape)


def test_frozen_layers_stay_frozen():
    frozen = backbone()
    frozen.trainable = False
    model = SPNet(frozen, **BRIEF)
    counterpart = SPNet.from_config(model.get_config())
    assert len(counterpart.trainable_variables) == len(model.trainable_variables)
    assert 0 < len(model.trainable_variables) < len(model.variables)


def test_head_has_the_layers_of_the_paper():
    """The main output, rebuilt from the layers in plain PyTorch."""
    import torch
    from torch.nn import functional as F

    body = backbone(data_format="channels_last")
    model = SPNet(body, **HEAD, auxiliary=False)
    for layer in model.layers:
        torch_plain.randomize(layer)
    x = images(2, 32, 40, 3)
    features = to_numpy(body(x))
    _, bn = torch_plain.operations(model)

    def conv(x, name):
        layer = model.get_layer(name)
        kernel = torch.tensor(to_numpy(layer.kernel)).permute(3, 2, 0, 1)
        bias = torch.tensor(to_numpy(layer.bias)) if layer.use_bias else None
        return F.conv2d(x, kernel, bias, 1, kernel.shape[-1] // 2)

    def definition(x):
        x = F.relu(bn(conv(x, "head1_conv"), "head1_bn"))
        for name in ("mixed_pooling1", "mixed_pooling2"):
            block = model.get_layer(name)
            x = torch.tensor(to_numpy(block(x.permute(0, 2, 3, 1).numpy()))).permute(0, 3, 1, 2)
        x = F.relu(bn(conv(x, "head2_conv"), "head2_bn"))
        x = conv(x, "classifier")
        return F.interpolate(x, (32, 40), mode="bilinear", align_corners=True)

    expected = torch_plain.apply(definition, features)
    np.testing.assert_allclose(to_numpy(model(x)), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.long_to_compile
@pytest.mark.every_backend
def test_fit_with_void_pixels():
    """Plain compile and fit."""
    model = SPNet(backbone(), **BRIEF)
    assert model.loss_weights == {"main": 1.0, "auxiliary": 0.4}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=VOID)
    iou = MeanIoU(4, ignore_class=VOID, data_format="channels_last")
    model.compile(
        keras.optimizers.Adam(1e-2),
        {"main": loss, "auxiliary": loss},
        loss_weights=model.loss_weights,
        metrics={"main": iou},
    )
    x = images(4, 32, 40, 3)
    labels = np.where(x[..., 0] > 0, 1, 3)
    labels[:, :4] = VOID
    targets = {"main": labels, "auxiliary": labels}
    before = model.evaluate(x, targets, verbose=0, return_dict=True)
    np.testing.assert_allclose(
        before["loss"], before["main_loss"] + 0.4 * before["auxiliary_loss"], rtol=1e-5
    )
    history = model.fit(x, targets, epochs=3, batch_size=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_inference_model_gives_the_main_logits(tmp_path):
    """The network without the auxiliary head."""
    model = SPNet(backbone(), **BRIEF)
    x = images(4, 32, 40, 3)
    network = model.inference_model()
    assert [name for name in (each.name for each in network.layers) if "auxiliary" in name] == []
    expected = to_numpy(model(x)["main"])
    np.testing.assert_array_equal(to_numpy(network(x)), expected)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert type(loaded) is SPNet
    np.testing.assert_array_equal(to_numpy(loaded(x)), expected)


@pytest.mark.every_backend
def test_loss_ignores_void_pixels():
    """Keras's own loss, against plain NumPy: void is outside the classes, or the one after them."""
    logits = images(3, 5, 4, 6)
    labels = np.random.default_rng(0).integers(0, 6, (3, 5, 4))
    known = images(3, 5, 4) > -0.5
    log_sums = np.log(np.exp(logits).sum(-1))
    losses = log_sums - np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    for void in (VOID, 6):
        given = np.where(known, labels, void).astype("int32")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=void)
        assert float(loss(given, logits)) == pytest.approx(losses[known].mean(), rel=1e-5)
        assert float(loss(np.full_like(given, void), logits)) == 0


def test_model_with_auxiliary_head_saves_and_loads(tmp_path):
    model = SPNet(backbone(), **BRIEF)
    x = images(2, 32, 40, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for name, expected in model(x).items():
        np.testing.assert_array_equal(to_numpy(loaded(x)[name]), to_numpy(expected))


@pytest.mark.parametrize("family", [ShuffleNetV2, MobileNetV2])
def test_backbones_of_other_families_build(family):
    """The auxiliary head reads stride 16, told apart from the last stage even without strides."""
    body = family(0.5, include_top=False, output_stride=8, input_shape=(32, 40, 3))
    model = SPNet(body, **HEAD)
    assert model.get_layer("auxiliary_conv").input is body.stage_outputs["P4"]
    assert {name: x.shape for name, x in model.output.items()} == {
        "main": (None, 32, 40, 4),
        "auxiliary": (None, 32, 40, 4),
    }


def test_backbone_weights_unchanged_and_default_width():
    body = backbone()
    model = SPNet(body, 4, pool_sizes=(2,), modules=1)
    assert model.get_layer("stage1_block0") is body.get_layer("stage1_block0")
    # Of 128 channels; a quarter of 64 for the auxiliary head.
    filters = [model.get_layer(f"{x}_conv").filters for x in ("head1", "head2", "auxiliary")]
    assert filters == [64, 32, 16]


def test_backbone_of_keras_applications_builds():
    body = keras.applications.MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)
    model = SPNet(body, **HEAD)
    assert model.output["auxiliary"].shape == (None, 32, 32, 4)
    counterpart = SPNet.from_config(model.get_config())
    assert [w.shape for w in counterpart.weights] == [w.shape for w in model.weights]


@pytest.mark.every_backend
def test_mixed_precision_gives_float32_logits():
    model = SPNet(backbone(dtype="mixed_bfloat16"), **HEAD)
    assert model.get_layer("mixed_pooling1").output.dtype == "bfloat16"
    assert {x.dtype for x in model.output.values()} == {"float32"}


def test_channels_first():
    """The same weights give the same logits; in a functional graph, so shapes are right too."""
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no channels_first convolution on the CPU")
    last = SPNet(backbone(data_format="channels_last"), **BRIEF, auxiliary=False)
    first = SPNet(
        backbone(data_format="channels_first", input_shape=(3, 32, 40)), **BRIEF, auxiliary=False
    )
    first.set_weights(last.get_weights())
    x = images(2, 32, 40, 3)
    outputs = to_numpy(first(x.transpose(0, 3, 1, 2))).transpose(0, 2, 3, 1)
    expected = to_numpy(last(x))
    np.testing.assert_allclose(outputs, expected, atol=1e-4 * np.abs(expected).max())


def test_flattened_graph_outputs_and_macs_match():
    model = SPNet(backbone(strip_pooling=True), **BRIEF, auxiliary=False)
    for layer in model.layers:
        torch_plain.randomize(layer)
    x = images(2, 32, 40, 3)
    flat = flatten(model)
    expected = to_numpy(model(x))
    np.testing.assert_allclose(to_numpy(flat(x)), expected, atol=1e-4 * np.abs(expected).max())
    # The head on the backbone: 1×1, the pooling module, 3×3 and the classifier, at 4×5 pixels.
    per_pixel = 128 * 8 + 2 * 8 * 2 + 2 * 2 * 9 + 2 * 2 * 9 * 2 + 4 * 8 + 8 * 4 * 9 + 4 * 4
    grid, strips = 3 * 3 * (2 * 2 * 9), (4 + 5) * (2 * 2 * 3)
    assert macs(model) - macs(backbone(strip_pooling=True)) == 4 * 5 * per_pixel + grid + strips


@pytest.mark.long
@pytest.mark.export
def test_exported_files_match_the_model():
    model = SPNet(backbone(strip_pooling=True), **BRIEF, auxiliary=False)
    randomize_weights(model)
    run_export_test(model, images(16, 32, 40, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": None}, "backbone must be a functional model; received None"),
        ({"classes": 0}, "classes must be a positive integer; received 0"),
        ({"width": 6}, "ratio=4 does not divide the 6 channels"),
        ({"modules": -1}, "modules must be an integer of at least 0; received -1"),
        ({"pool_sizes": (0,)}, "each of pool_sizes must be a positive integer"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    given = {"backbone": as_config(backbone(depth=(1, 1, 1, 1))), **HEAD, **arguments}
    with pytest.raises(ValueError, match=message):
        SPNet(**given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (None, None, 3)}, "needs a known height and width"),
        ({"pooling": "avg"}, "must take one image and give one feature map"),
    ],
)
def test_unfit_backbones_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        SPNet(backbone(**arguments), **HEAD)
