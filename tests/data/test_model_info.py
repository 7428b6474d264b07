import zipfile

import keras
import numpy as np
import pytest

from kdl.data import InputSpec, ModelInfo, read_model_info, write_model_info

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
    (tmp_path / "plain.tflite").write_bytes(b"no archive")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    for name in ("plain.tflite", "other.keras"):
        assert read_model_info(tmp_path / name) == ModelInfo()
    before = (tmp_path / "plain.tflite").read_bytes()
    write_model_info(tmp_path / "plain.tflite", ModelInfo())
    assert (tmp_path / "plain.tflite").read_bytes() == before
    with pytest.raises(FileNotFoundError, match=r"missing\.keras"):
        read_model_info(tmp_path / "missing.keras")
