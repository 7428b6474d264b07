import zipfile

import keras
import numpy as np
import pytest

import kdl
from kdl.data import (
    ArrayDataset,
    InputSpec,
    ModelInfo,
    get_model_info,
    read_model_info,
    write_model_info,
)

INFO = ModelInfo(["cat", "dög"], InputSpec((8, 9), mean=(0.5, 0.4, 0.3)))


def test_in_a_keras_file_the_model_still_loads(tmp_path):
    path = tmp_path / "m.keras"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.save(path)
    write_model_info(path, INFO)
    assert read_model_info(path) == INFO
    loaded = keras.models.load_model(path)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_in_a_tflite_file(root, tmp_path):
    source = root / "saved_models" / "quickstart" / "int8.tflite"
    path = tmp_path / "m.tflite"
    path.write_bytes(source.read_bytes())
    assert read_model_info(path).labels == list("0123456789")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split() == list("0123456789")


def test_files_without_info(tmp_path):
    (tmp_path / "plain.tflite").write_bytes(b"\x1c\0\0\0TFL3 and no archive")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    for name in ("plain.tflite", "other.keras"):
        assert read_model_info(tmp_path / name) == ModelInfo()
    before = (tmp_path / "plain.tflite").read_bytes()
    write_model_info(tmp_path / "plain.tflite", ModelInfo())
    assert (tmp_path / "plain.tflite").read_bytes() == before
    with pytest.raises(FileNotFoundError, match=r"missing\.keras"):
        read_model_info(tmp_path / "missing.keras")


@pytest.mark.parametrize("name", ["m.keras", "m.tflite"])
@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\3\4 the first half of an archive"])
def test_files_that_are_not_what_they_are_called_raise(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged, or no {name[1:]} file"):
        read_model_info(tmp_path / name)


def test_models_of_kdl_remember_what_they_are_fitted_on(tmp_path):
    names, spec = ["ant", "bee"], InputSpec((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    data = ArrayDataset(np.zeros((4, 32, 32, 3)), [0, 1, 0, 1], class_names=names, spec=spec)
    model = kdl.applications.SqueezeNet(input_shape=(32, 32, 3), classes=2)
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert get_model_info(model) == ModelInfo()
    model.fit(data, verbose=0)
    assert get_model_info(model) == ModelInfo(names, spec)
    # Keras's own file keeps it; arrays leave it, and what does not fit is not taken.
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert get_model_info(loaded) == ModelInfo(names, spec)
    assert "model_info" in loaded.get_config()
    x, y = data.unaugmented()
    model.fit(x, y, verbose=0)
    model.fit(ArrayDataset(x, y, class_names=[*names, "cat"]), verbose=0)
    assert get_model_info(model) == ModelInfo(names, spec)
    kdl.training.save_portable(model, tmp_path / "p.keras")
    assert read_model_info(tmp_path / "p.keras") == ModelInfo(names, spec)


def small_classifier(name, units=2):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(inputs)
    return keras.Model(inputs, keras.layers.Dense(units, activation="softmax")(x), name=name)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: kdl.compression.prune(model, kdl.compression.ConstantSparsity(0.5, 0)),
        lambda model: kdl.compression.distill(model, small_classifier("teacher")),
    ],
    ids=["prune", "distill"],
)
def test_networks_in_other_models_remember_what_these_are_fitted_on(wrap):
    names, spec = ["ant", "bee"], InputSpec((8, 8))
    data = ArrayDataset(np.zeros((4, 8, 8, 3)), [0, 1, 0, 1], class_names=names, spec=spec)
    model = wrap(small_classifier("network"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(data, verbose=0)
    assert get_model_info(kdl.compression.strip(model)) == ModelInfo(names, spec)


def test_published_weights_carry_how_they_want_their_images(monkeypatch, tmp_path):
    MobileNetV2 = kdl.applications.MobileNetV2
    source = type(kdl.applications.list_models()[0].sources[0])
    path = tmp_path / "weights.h5"
    monkeypatch.setattr(source, "download", lambda self: str(path))
    for loader in ("load_torch_weights", "load_keras_weights"):
        monkeypatch.setattr(f"kdl.applications.application.{loader}", lambda model, path: None)
    torch = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    expected = {"symmetric": torch, "same": {"mean": (0.5,) * 3, "std": (0.5,) * 3}}
    for padding, scale in expected.items():
        shape = {"input_shape": (32, 64, 3), "padding": padding, "data_format": "channels_last"}
        model = MobileNetV2(1.0, weights="imagenet", include_top=False, **shape)
        assert get_model_info(model) == ModelInfo(None, InputSpec((32, 64), **scale))
    open_size = {"padding": "same", "data_format": "channels_last", "include_top": False}
    assert get_model_info(MobileNetV2(1.0, weights="imagenet", **open_size)) == ModelInfo()


def test_grey_images_are_refused_before_weights_are_downloaded(monkeypatch):
    def download(self):
        raise RuntimeError("downloaded")

    source = type(kdl.applications.list_models()[0].sources[0])
    monkeypatch.setattr(source, "download", download)
    shape = {"input_shape": (48, 48, 1), "data_format": "channels_last"}
    with pytest.raises(ValueError, match=r"3 channels; received input_shape=\(48, 48, 1\)"):
        kdl.applications.ShuffleNetV2(0.5, weights="imagenet", **shape)
