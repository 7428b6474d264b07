import json
import os

import keras
import numpy as np
import pytest

from kdl.data import ArrayDataset, InputSpec, ModelInfo, read_model_info
from kdl.training import ClassifierRun
from kdl.training.backup import read_history

ARGUMENTS = {"model": "small", "epochs": 3}


def data(shuffle):
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3
    images = rng.random((24, 8, 8, 1)).astype("float32") + labels[:, None, None, None]
    return ArrayDataset(images.astype("float32"), labels, batch_size=8, shuffle=shuffle)


def small_model():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))


def train(folder, arguments=ARGUMENTS, overwrite=False):
    run = ClassifierRun(folder, arguments, overwrite)
    info = ModelInfo(["a", "b", "c"], InputSpec((8, 8), 1))
    names = ["a", "b", "c"]
    results = run.train(small_model(), data(True), data(False), names, 3, info=info, verbose=0)
    return run, results


def test_a_run_leaves_its_files(tmp_path):
    run, results = train(tmp_path / "run")
    assert sorted(os.listdir(run.folder)) == [
        "confusion.png",
        "curves.png",
        "history.csv",
        "model.keras",
        "run.json",
    ]
    assert run.finished
    assert run.results == results
    assert results["epochs"] == 3
    assert results["steps"] == 9
    rows = read_history(run.path("history.csv"))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} < set(rows[0])
    assert rows[-1]["val_accuracy"] == pytest.approx(results["accuracy"], abs=1e-6)
    info = read_model_info(run.path("model.keras"))
    assert info.labels == ["a", "b", "c"]
    model = keras.models.load_model(run.path("model.keras"))
    assert not model.compiled
    scores = model.predict(data(False), verbose=0)
    labels = np.concatenate([y for _, y in data(False)])
    assert np.mean(scores.argmax(-1) == labels) == pytest.approx(results["accuracy"])
    for name in ("curves.png", "confusion.png"):
        with open(run.path(name), "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    train(tmp_path)
    before = (tmp_path / "model.keras").read_bytes()
    with pytest.raises(ValueError, match=r"other arguments \(epochs: 3 there, 5 now\)"):
        ClassifierRun(tmp_path, {**ARGUMENTS, "epochs": 5})
    assert (tmp_path / "model.keras").read_bytes() == before
    run = ClassifierRun(tmp_path, {**ARGUMENTS, "epochs": 5}, overwrite=True)
    assert not run.finished
    assert os.listdir(tmp_path) == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text())["arguments"]["epochs"] == 5


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ClassifierRun(tmp_path / "file" / "run", ARGUMENTS)
