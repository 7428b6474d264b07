import h5py
import keras
import numpy as np
import pytest

from kdl.applications import NASNet, ResNet, ShuffleNet, ShuffleNetV2
from kdl.applications.weights.own_file import load_own_weights

SMALL = {"input_shape": (32, 32, 3)}


@pytest.fixture(scope="module")
def trained():
    return ShuffleNetV2(0.5, **SMALL, classes=3)


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "model.keras"
    trained.save(path)
    return path


def assert_same_backbone(model, trained):
    for layer in (layer for layer in model.layers if layer.weights):
        others = trained.get_layer(layer.name).get_weights()
        for one, other in zip(layer.get_weights(), others, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.every_backend
@pytest.mark.parametrize("pooling", [None, "avg"])
def test_model_without_top_loads_a_file_with_top(pooling, trained, file):
    model = ShuffleNetV2(0.5, **SMALL, include_top=False, pooling=pooling, weights=file)
    assert_same_backbone(model, trained)


def test_backbone_inside_a_larger_model_is_loaded(tmp_path):
    backbone = ShuffleNetV2(0.5, **SMALL, include_top=False)
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(backbone(inputs)))
    keras.Model(inputs, outputs).save(tmp_path / "whole.keras")
    model = ShuffleNetV2(0.5, **SMALL, include_top=False, weights=tmp_path / "whole.keras")
    assert_same_backbone(model, backbone)


@pytest.mark.parametrize(
    ("scale", "arguments", "message"),
    [
        (0.5, {"classes": 5}, r"'classifier/\w+' has shape .*include_top=False, and add a head"),
        (1.0, {"include_top": False}, r"made with alpha=0\.5, this model with 1\.0"),
    ],
)
def test_unfit_file_errors_name_the_difference(scale, arguments, message, file):
    with pytest.raises(ValueError, match=rf"model\.keras does not fit .*{message}"):
        ShuffleNetV2(scale, **SMALL, **arguments, weights=file)


class Plain(keras.Model):
    """A network of dense layers that says of itself that it has no top."""

    def __init__(self, *names):
        inputs = x = keras.Input((2,))
        for name in names:
            x = keras.layers.Dense(2, name=name)(x)
        super().__init__(inputs, x, name="plain")

    def get_config(self):
        return {"include_top": False}


def saved_model(*names):
    layers = [keras.layers.Dense(2, name=name) for name in names]
    return keras.Sequential([keras.Input((2,)), *layers])


def test_surplus_layers_are_a_head_only_after_the_last(tmp_path):
    saved_model("a", "b", "head").save(tmp_path / "top.keras")
    load_own_weights(Plain("a", "b"), str(tmp_path / "top.keras"))
    saved_model("a", "deeper", "b").save(tmp_path / "deep.keras")
    model = Plain("a", "b")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"deep\.keras does not fit plain: .*layer 'deeper'"):
        load_own_weights(model, str(tmp_path / "deep.keras"))
    assert_untouched(model, before)


def assert_untouched(model, before):
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_truncated_file_leaves_the_model_unchanged(suffix, share, trained, tmp_path):
    path = tmp_path / f"cut{suffix}"
    trained.save(path) if suffix == ".keras" else trained.save_weights(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    model = ShuffleNetV2(0.5, **SMALL, classes=3)
    before = model.get_weights()
    with pytest.raises(ValueError, match=rf"cut\{suffix}"):
        model.load_initial_weights(path)
    assert_untouched(model, before)


def test_file_that_fails_in_its_last_layer_leaves_the_model_unchanged(trained, tmp_path):
    path = tmp_path / "bad.weights.h5"
    trained.save_weights(path)
    with h5py.File(path, "r+") as weights:
        kernel = weights.visititems(lambda name, node: name if is_classifier(node) else None)
        del weights[kernel]
        weights[kernel] = np.ones((7, 7), "float32")
    model = ShuffleNetV2(0.5, **SMALL, classes=3)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"bad\.weights\.h5 does not fit"):
        model.load_initial_weights(path)
    assert_untouched(model, before)


def is_classifier(node):
    return isinstance(node, h5py.Dataset) and node.shape == (1024, 3)


def test_weights_of_a_deeper_network_raise(tmp_path):
    small = {"width": 8, "input_shape": (32, 32, 3), "classes": 3}
    ResNet((1, 1, 1, 3), **small).save_weights(tmp_path / "deep.weights.h5")
    with pytest.raises(ValueError, match="numbers more than this model has weights"):
        ResNet((1, 1, 1, 1), **small, weights=tmp_path / "deep.weights.h5")


def test_weights_with_top_are_loaded_without_it(trained, tmp_path):
    trained.save_weights(tmp_path / "model.weights.h5")
    path = tmp_path / "model.weights.h5"
    assert_same_backbone(ShuffleNetV2(0.5, **SMALL, include_top=False, weights=path), trained)


def test_file_of_a_variant_with_the_same_shapes_raises(tmp_path):
    small = {"alpha": 1.0, "input_shape": (32, 32, 3), "classes": 3}
    ShuffleNet(**small, variant="paper").save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="made with variant='paper', this model with 'mmpretrain'"):
        ShuffleNet(**small, variant="mmpretrain", weights=tmp_path / "model.keras")
    same = ShuffleNet(**small, variant="paper", output_stride=16, weights=tmp_path / "model.keras")
    assert same.count_params()


def test_weights_beside_an_optimizer_are_loaded(trained, tmp_path):
    path = tmp_path / "model.weights.h5"
    model = ShuffleNetV2(0.5, **SMALL, classes=3)
    model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    model.save_weights(path)
    assert_same_backbone(ShuffleNetV2(0.5, **SMALL, classes=3, weights=path), model)
    assert_same_backbone(ShuffleNetV2(0.5, **SMALL, include_top=False, weights=path), model)


def test_weights_of_training_with_drop_path_are_loaded_for_inference(tmp_path):
    small = {"penultimate_filters": 96, "blocks": 1, "input_shape": (32, 32, 3), "classes": 3}
    path = tmp_path / "model.weights.h5"
    NASNet(**small, drop_path_keep=0.7).save_weights(path)
    assert NASNet(**small, weights=path).count_params()


def test_file_with_the_same_network_in_other_words_is_loaded(tmp_path):
    small = {"width": 8, "input_shape": (32, 32, 3), "classes": 3, "stem": "deep"}
    trained = ResNet(50, **small)
    trained.save(tmp_path / "model.keras")
    dilated = {"multi_grid": (1, 2, 4), "output_stride": 8, "include_top": False}
    model = ResNet((3, 4, 6, 3), **{**small, **dilated}, weights=tmp_path / "model.keras")
    assert_same_backbone(model, trained)


@pytest.mark.parametrize(("include_top", "ending"), [(True, "weights.h5"), (False, "keras")])
def test_weights_of_training_with_an_auxiliary_head_are_loaded(include_top, ending, tmp_path):
    small = {"penultimate_filters": 96, "blocks": 1, "input_shape": (96, 96, 3), "classes": 3}
    trained, path = NASNet(**small, auxiliary=True), tmp_path / f"model.{ending}"
    trained.save(path) if ending == "keras" else trained.save_weights(path)
    assert_same_backbone(NASNet(**small, include_top=include_top, weights=path), trained)
