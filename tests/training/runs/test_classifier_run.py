import contextlib
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest

from kdl.data import ArrayDataset, InputSpec, ModelInfo, read_model_info
from kdl.training import ClassifierRun
from kdl.training.callbacks.backup import read_history

ARGUMENTS = {"model": "small", "epochs": 3}

# Networks this small learn nothing in two epochs with some first weights.
pytestmark = pytest.mark.filterwarnings("ignore:Nothing is learned")


def data(shuffle):
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3
    images = rng.random((24, 8, 8, 1)).astype("float32") + labels[:, None, None, None]
    return ArrayDataset(images.astype("float32"), labels, batch_size=8, shuffle=shuffle)


def small_model():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))


def train(folder, arguments=ARGUMENTS, overwrite=False, model=None, **settings):
    run = ClassifierRun(folder, arguments, overwrite)
    info = ModelInfo(["a", "b", "c"], InputSpec((8, 8), 1))
    names, epochs = ["a", "b", "c"], arguments["epochs"]
    settings = {"info": info, "verbose": 0, **settings}
    model = model or small_model()
    return run, run.train(model, data(True), data(False), names, epochs, **settings)


@pytest.mark.every_backend
def test_finished_run_leaves_its_files(tmp_path):
    run, results = train(tmp_path / "run")
    assert sorted(os.listdir(run.folder)) == [
        "confusion.png",
        "curves.png",
        "history.csv",
        "last.keras",
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
    best = rows[results["best_epoch"] - 1]
    assert best["val_accuracy"] == max(row["val_accuracy"] for row in rows) == results["accuracy"]
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that has come to its end."""
    folder = tmp_path_factory.mktemp("finished")
    train(folder)
    return folder


def test_another_run_in_same_folder_raises(tmp_path):
    train(tmp_path)
    before = (tmp_path / "model.keras").read_bytes()
    with pytest.raises(ValueError, match=r"other arguments \(epochs: 3 there, 2 now\)"):
        ClassifierRun(tmp_path, {**ARGUMENTS, "epochs": 2})
    with pytest.raises(
        ValueError, match=r"\(epochs: 3 there, 5 now; model: 'small' there, 'large'"
    ):
        ClassifierRun(tmp_path, {"model": "large", "epochs": 5})
    assert (tmp_path / "model.keras").read_bytes() == before
    run = ClassifierRun(tmp_path, {**ARGUMENTS, "epochs": 5}, overwrite=True)
    assert not run.finished
    assert os.listdir(tmp_path) == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text())["arguments"]["epochs"] == 5


def test_a_finished_run_is_not_trained_again(tmp_path):
    run, results = train(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = small_model()
    again, same = train(tmp_path, model=model)
    assert (same, again.finished) == (results, True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    scores = model.predict(data(False), verbose=0)
    saved = keras.models.load_model(run.path("model.keras")).predict(data(False), verbose=0)
    np.testing.assert_array_equal(scores, saved)


class WhileTraining(keras.callbacks.Callback):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def on_epoch_end(self, epoch, logs=None):
        self.act()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no locks on folders")
@pytest.mark.parametrize(
    ("arguments", "overwrite"), [(ARGUMENTS, False), (ARGUMENTS, True), ({"epochs": 9}, False)]
)
def test_two_runs_do_not_share_a_folder_at_one_time(arguments, overwrite, tmp_path):
    def another():
        with pytest.raises(RuntimeError, match="A run is being trained in"):
            train(tmp_path, {**ARGUMENTS, **arguments}, overwrite)

    run, results = train(tmp_path, callbacks=[WhileTraining(another)])
    assert results["epochs"] == 3
    assert accuracy_of(run, "model.keras") == pytest.approx(results["accuracy"])
    train(tmp_path, {**ARGUMENTS, **arguments}, overwrite=True)


def test_unwritable_folder_raises(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ClassifierRun(tmp_path / "file" / "run", ARGUMENTS)


class Worsen(keras.callbacks.Callback):
    """Makes all epochs from one on useless, from before validation on."""

    def __init__(self, first):
        super().__init__()
        self.first, self.epoch = first, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_test_begin(self, logs=None):
        if self.epoch >= self.first:
            self.model.layers[-1].kernel.assign(np.zeros((4, 3)))
            self.model.layers[-1].bias.assign([9.0, 0.0, 0.0])


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            raise Killed


def accuracy_of(run, name):
    model = keras.models.load_model(run.path(name))
    labels = np.concatenate([y for _, y in data(False)])
    return np.mean(model.predict(data(False), verbose=0).argmax(-1) == labels)


@pytest.mark.filterwarnings("ignore:Nothing is learned")
@pytest.mark.parametrize("kill_at", [None, 2, 3])
def test_best_and_last_model_and_patience(kill_at, tmp_path):
    """Epoch 2 is the best: patience ends after 4 of 9, whether the run was killed or not."""
    settings = {"patience": 2, "learning_rate": 0.1}
    arguments = {"model": "small", "epochs": 9}
    if kill_at:
        with pytest.raises(Killed):
            train(tmp_path, arguments, callbacks=[Worsen(3), KillAt(kill_at)], **settings)
        (tmp_path / "best" / "draft.weights.h5").write_bytes(b"torn")  # by another kill
    run, results = train(tmp_path, arguments, callbacks=[Worsen(3)], **settings)
    assert results["epochs"] == results["best_epoch"] + 2
    assert results["steps"] == 3 * results["epochs"]
    assert results["best_epoch"] <= 2
    assert accuracy_of(run, "model.keras") == pytest.approx(results["accuracy"])
    assert accuracy_of(run, "last.keras") == pytest.approx(1 / 3)
    assert not os.path.exists(run.path("best"))


def test_finished_run_with_more_epochs_resumes(tmp_path):
    first, results = train(tmp_path)
    last = keras.models.load_model(first.path("last.keras")).get_weights()
    longer = {**ARGUMENTS, "epochs": 5}
    with pytest.raises(Killed):
        train(tmp_path, longer, callbacks=[KillAt(5)])
    run = ClassifierRun(tmp_path, longer)
    assert (run.finished, run.finished_epochs) == (False, 4)
    run, results = train(tmp_path, longer)
    assert (results["epochs"], results["steps"]) == (5, 15)
    rows = read_history(run.path("history.csv"))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[results["best_epoch"] - 1]["val_accuracy"] == pytest.approx(
        accuracy_of(run, "model.keras")
    )
    assert not np.array_equal(
        last[0], keras.models.load_model(run.path("last.keras")).get_weights()[0]
    )


def test_run_killed_at_its_end_resumes_with_new_optimizer(tmp_path, monkeypatch):
    monkeypatch.setattr(ClassifierRun, "_clear", lambda *_: None)
    first, results = train(tmp_path)
    assert os.path.exists(first.path("backup"))
    monkeypatch.undo()
    last = keras.models.load_model(first.path("last.keras")).get_weights()
    run, longer = train(tmp_path, {**ARGUMENTS, "epochs": results["epochs"] + 2})
    assert longer["steps"] == 3 * longer["epochs"]
    now = keras.models.load_model(run.path("last.keras")).get_weights()
    assert not np.array_equal(last[0], now[0])


@pytest.mark.parametrize("kill_at", [None, 2, 3, 4])
def test_fine_tuning_trains_the_head_first_and_no_norm_statistics(kill_at, tmp_path):
    def model():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.BatchNormalization(name="norm")(
            keras.layers.Conv2D(4, 3, name="conv")(inputs)
        )
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))

    moved = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kernel = self.model.get_layer("conv").get_weights()[0]
            moved.append(not np.array_equal(kernel, before))

    before = model().get_layer("conv").get_weights()[0]
    arguments, settings = {"model": "small", "epochs": 4}, {"freeze_epochs": 2}
    if kill_at:
        more = [Note(), KillAt(kill_at)]
        with pytest.raises(Killed):
            train(tmp_path, arguments, model=model(), callbacks=more, **settings)
    run, results = train(tmp_path, arguments, model=model(), callbacks=[Note()], **settings)
    assert moved == [False, False, True, True]
    assert (results["epochs"], results["steps"]) == (4, 12)
    rows = read_history(run.path("history.csv"))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    last = keras.models.load_model(run.path("last.keras"))
    norm = last.get_layer("norm")
    assert norm.trainable
    assert (norm.get_weights()[2] == 0).all()  # the moving mean stayed
    assert not any(os.path.exists(run.path(name)) for name in ("backup", "backup-head", "best"))


@pytest.mark.parametrize("kill_at", [2, 4])
def test_fine_tuning_killed_and_made_longer_keeps_its_frozen_epochs(kill_at, tmp_path):
    """As `kdl train` asks for it: the head has a share of the epochs, which have become more."""
    with pytest.raises(Killed):
        train(tmp_path, {"epochs": 4}, freeze_epochs=1, callbacks=[KillAt(kill_at)])
    rates = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    _, results = train(tmp_path, {"epochs": 12}, freeze_epochs=3, callbacks=[Note()])
    assert (results["epochs"], results["steps"]) == (12, 36)
    assert json.loads((tmp_path / "run.json").read_text())["frozen_epochs"] == 1
    assert len(rates) == 13 - kill_at
    assert rates[-2] > 0  # the schedule ends with the run, not before


@pytest.mark.parametrize("names", ["bcd", "bac"])
@pytest.mark.parametrize(("epochs", "ended"), [(3, False), (5, False), (5, True)])
def test_run_with_other_classes_raises(names, epochs, ended, tmp_path):
    """Also of the same names in another order."""
    with contextlib.nullcontext() if ended else pytest.raises(Killed):
        train(tmp_path, callbacks=[] if ended else [KillAt(2)])
    run = ClassifierRun(tmp_path, {**ARGUMENTS, "epochs": epochs})
    with pytest.raises(ValueError, match=r"run of the classes \['a', 'b', 'c'\]; .* \['b', "):
        run.train(small_model(), data(True), data(False), names, epochs)
    _, results = train(tmp_path, {**ARGUMENTS, "epochs": epochs})
    assert results["epochs"] == epochs


def test_run_without_a_finished_epoch_begins_with_other_classes(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, callbacks=[KillAt(1)])
    run = ClassifierRun(tmp_path, ARGUMENTS)
    assert not run.finished_epochs
    run.train(small_model(), data(True), data(False), ["b", "c", "d"], 3, verbose=0)
    assert json.loads((tmp_path / "run.json").read_text())["class_names"] == ["b", "c", "d"]


@pytest.mark.parametrize("now", ["a/2.png b/1.png", "a/1.png b/2.png"])
def test_run_with_other_files_warns(now, recwarn, tmp_path):
    """Not if the folder has moved. The second: a split that was drawn anew."""

    def of(root, names):
        sets = data(True), data(False)
        for part, name in zip(sets, names.split(), strict=True):
            part.paths = [f"{root}/{name}"]
        return sets

    def take_up(sets, kill_at=3):
        with pytest.raises(Killed):
            ClassifierRun(tmp_path, ARGUMENTS).train(
                small_model(), *sets, "abc", 3, verbose=0, callbacks=[KillAt(kill_at)]
            )

    take_up(of("/data", "a/1.png b/1.png"), 2)
    take_up(of("/moved/train", "a/1.png b/1.png"))
    assert not [w for w in recwarn if "files of the data" in str(w.message)]
    with pytest.warns(UserWarning, match="files of the data are others than when the run in"):
        take_up(of("/data", now))


def test_run_of_an_earlier_version_resumes(tmp_path):
    """Which kept nothing of its data."""
    with pytest.raises(Killed):
        train(tmp_path, callbacks=[KillAt(2)])
    (tmp_path / "run.json").write_text(json.dumps({"arguments": ARGUMENTS, "finished": False}))
    _, results = train(tmp_path)
    assert results["steps"] == 9
    assert json.loads((tmp_path / "run.json").read_text())["class_names"] == ["a", "b", "c"]


def test_unknown_optimizer_raises(tmp_path):
    with pytest.raises(ValueError, match="optimizer must be one of adamw, adam, sgd; received 'x'"):
        train(tmp_path, optimizer="x")


def test_dead_network_warns(tmp_path):
    model = small_model()
    model.layers[-1].set_weights([np.zeros((4, 3)), np.array([0.01, 0, 0])])
    with pytest.warns(UserWarning, match="Nothing is learned: after epoch 2 .* 1.0986 and the"):
        train(tmp_path, model=model, learning_rate=1e-9)


@pytest.mark.parametrize("content", ["", "[]", '{"arguments": {}}', '{"arguments": 1}', "no JSON"])
def test_folder_of_other_files_is_unchanged(content, tmp_path):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json is not what a run leaves, or is damaged"):
        ClassifierRun(tmp_path, ARGUMENTS)
    assert (tmp_path / "run.json").read_text() == content
    assert not ClassifierRun(tmp_path, ARGUMENTS, overwrite=True).finished


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_no_run_are_neither_replaced_nor_removed(overwrite, tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "image.png").write_text("of a class of that name")
    (tmp_path / "model.keras").write_text("of somebody else")
    with pytest.raises(ValueError, match=r"holds model\.keras, best and no run\.json"):
        ClassifierRun(tmp_path, ARGUMENTS, overwrite=overwrite)
    assert sorted(os.listdir(tmp_path)) == ["best", "model.keras"]
    assert (tmp_path / "best" / "image.png").exists()


@pytest.mark.parametrize(
    "arguments", [{"path": pathlib.Path("x")}, {"rate": float("nan")}, ["epochs"]]
)
def test_arguments_outside_json_raise(arguments, tmp_path):
    with pytest.raises(ValueError, match="plain values"):
        ClassifierRun(tmp_path / "run", arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["last.keras", "model.keras", "history.csv"])
def test_finished_run_without_files_raises(missing, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(ValueError, match=r"of 3 epochs that cannot go on: its history\.csv, last"):
        train(tmp_path / "run", {**ARGUMENTS, "epochs": 5})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"warm_up_share": 1}, "warm_up_share must be at least 0 and below 1"),
        ({"patience": 0}, "patience must be a positive integer"),
        ({"freeze_epochs": -1}, "freeze_epochs must be an integer of at least 0"),
        ({"class_names": ["a", "b"]}, r"output \(batch, 2\) for the classes \['a', 'b'\]"),
        ({"validation": [1]}, "validation must be a data set of kdl.data"),
        ({"epochs": 0}, "epochs must be a positive integer"),
    ],
)
def test_mismatch_of_model_and_data_raises_before_training(settings, message, tmp_path):
    fitting = {
        "train": data(True),
        "validation": data(False),
        "class_names": ["a", "b", "c"],
        "epochs": 1,
    }
    with pytest.raises(ValueError, match=message):
        ClassifierRun(tmp_path, ARGUMENTS).train(small_model(), **{**fitting, **settings})
    assert os.listdir(tmp_path) == ["run.json"]


class Doubled(keras.layers.Layer):
    """Not registered with Keras, which reads no file with it back."""

    def call(self, x):
        return 2 * x


def test_model_that_keras_does_not_read_back_ends_its_run_and_goes_on(tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(Doubled()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
    run, results = train(tmp_path / "run", model=model)
    assert run.finished
    with pytest.raises(TypeError, match="Doubled"):
        keras.models.load_model(run.path("model.keras"))
    weights = model.get_weights()
    model.set_weights([0 * w for w in weights])
    _, again = train(tmp_path / "run", model=model)
    assert again == results
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    more, _ = train(tmp_path / "run", {**ARGUMENTS, "epochs": 4}, model=model)
    assert more.results["epochs"] == 4
