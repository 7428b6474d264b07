import json
import random
import signal
import subprocess
import time

import keras
import numpy as np
import pytest
from cli.command_line import FAST, command, error_line, kdl, kdl_here

import kdl as kdl_library
from kdl.cli import _training
from kdl.training.callbacks.backup import read_history


def test_train_on_a_folder_then_predict(image_folder, tmp_path):
    run = tmp_path / "run"
    arguments = ("--data", image_folder, "--epochs", "2", "--output", run, *FAST)
    done = kdl("train", *arguments)
    assert done.returncode == 0, done.stderr
    # Nothing of a GPU that is not there, and no line of TensorFlow's.
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines()), done.stderr
    assert ("Compiling" in done.stdout) == (keras.backend.backend() != "torch")
    assert "2 files" in done.stderr
    assert "cut.png" in done.stderr
    assert "notes.jpg" in done.stderr
    assert "2 epochs" in done.stdout
    again = kdl_here("train", *arguments)
    assert again.returncode == 0
    assert "finished: 2 epochs" in again.stdout
    assert "12 training and 4 validation images (a fifth of each class" in done.stdout
    assert done.stdout.count("validation accuracy") == 3  # a line an epoch, and the last one
    other = kdl_here("train", *arguments[:3], "1", *arguments[4:])
    assert "other arguments (epochs: 2 there, 1 now)" in error_line(other)
    longer = kdl_here("train", *arguments[:3], "3", *arguments[4:])
    assert "Resuming after epoch 2." in longer.stdout
    assert "3 epochs, 3 steps" in longer.stdout
    done = kdl_here("predict", image_folder / "light" / "1.png", "--model", run / "model.keras")
    assert done.returncode == 0, done.stderr
    assert "dark" in done.stdout
    assert "light" in done.stdout


def test_an_empty_class_folder_is_named(image_folder, tmp_path):
    (image_folder / "empty").mkdir()
    done = kdl_here("train", "--data", image_folder, "--output", tmp_path / "run")
    assert "'empty'" in error_line(done)
    assert not (tmp_path / "run").exists()


def test_train_segmenter_is_an_error(tmp_path):
    done = kdl_here("train", "--model", "spnet50", "--output", tmp_path / "run")
    assert "spnet50 is a segmenter, and kdl train trains classifiers" in error_line(done)


def test_a_size_below_the_least_is_refused(tmp_path):
    done = kdl_here("train", "--size", "16", "--output", tmp_path / "run")
    assert done.returncode == 2
    assert "32" in done.stderr


@pytest.mark.parametrize("output", [".", "runs", "light/run"])
def test_a_run_among_its_images_is_refused(output, image_folder, monkeypatch):
    monkeypatch.chdir(image_folder)
    before = sorted(image_folder.rglob("*"))
    done = kdl_here("train", "--data", ".", "--output", output, "--overwrite")
    assert "pass --output with a folder elsewhere" in error_line(done)
    assert sorted(image_folder.rglob("*")) == before


def test_weights_that_are_no_model_and_numbers_that_are_none(image_folder, tmp_path):
    (tmp_path / "text.keras").write_text("no model")
    for options, message in (
        (("--weights", tmp_path / "text.keras"), "text.keras is damaged, or no .keras file"),
        (("--weights", tmp_path / "none.keras"), "none.keras: no such model file"),
        (("--learning-rate", "0"), "--learning-rate must be positive; received 0.0"),
        (("--learning-rate", "nan"), "--learning-rate must be positive; received nan"),
        (("--weight-decay", "inf"), "--weight-decay must be finite; received inf"),
    ):
        done = kdl_here("train", "--data", image_folder, "--output", tmp_path / "run", *options)
        assert message in error_line(done)
    assert not (tmp_path / "run").exists()


def test_weights_that_overwrite_would_remove_are_kept(image_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text('{"arguments": {}, "finished": false}')
    (run / "last.keras").write_bytes(b"weights")
    (tmp_path / "link.keras").symlink_to(run / "last.keras")
    options = ("--weights", tmp_path / "link.keras", "--output", run, "--overwrite")
    done = kdl_here("train", "--data", image_folder, *options)
    assert "link.keras, with which this run begins: move it" in error_line(done)
    assert (run / "last.keras").read_bytes() == b"weights"


@pytest.mark.long
def test_a_killed_run_resumes(image_folder, tmp_path):
    """Killed at a random moment and started again, a run has all epochs once, and all its steps."""
    run, epochs = tmp_path / "run", 6
    arguments = ("train", "--data", image_folder, "--epochs", epochs, "--output", run, *FAST)
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_an_epoch(run, process)
    time.sleep(random.random() / 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = kdl(*arguments)
    assert done.returncode == 0, done.stderr
    assert "6 epochs, 6 steps" in done.stdout
    rows = read_history(run / "history.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert keras.models.load_model(run / "model.keras").output_shape == (None, 2)
    assert not (run / "backup").exists()


@pytest.mark.long
@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="compiling takes a minute; the road is the same"
)
def test_two_devices(image_folder, tmp_path):
    """Two processes leave one run, whose errors are one line."""
    run = tmp_path / "run"
    fast = (*FAST, "--batch-size", 8)  # of twelve images
    arguments = ("train", "--devices", 2, "--data", image_folder, "--output", run, *fast)
    done = kdl(*arguments, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 epochs, 2 steps") == 1
    assert sorted(path.name for path in run.iterdir()) == [
        "confusion.png",
        "curves.png",
        "history.csv",
        "last.keras",
        "model.keras",
        "run.json",
    ]
    assert len(read_history(run / "history.csv")) == 2
    assert "epochs: 2 there, 1 now" in error_line(kdl(*arguments, "--epochs", 1))


def test_weights_of_any_number_of_classes(tmp_path):
    name = "shufflenet_v2_x0_5"
    model = kdl_library.applications.create_model(name, input_shape=(32, 32, 3), classes=7)
    model.save_weights(tmp_path / "own.weights.h5")
    source = _training._source(name, str(tmp_path / "own.weights.h5"), 32)
    for ours, theirs in zip(model.weights, source.weights, strict=False):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.long
def test_fine_tuning_from_a_file(image_folder, tmp_path):
    first, run = tmp_path / "first", tmp_path / "run"
    done = kdl_here("train", "--data", image_folder, "--epochs", 1, "--output", first, *FAST)
    assert done.returncode == 0, done.stderr
    (image_folder / "other").mkdir()
    for number in range(4):
        image = (image_folder / "light" / "1.png").read_bytes()
        (image_folder / "other" / f"{number}.png").write_bytes(image)
    options = ("--flip", "--crop", "--class-weights", "--early-stopping", 3)
    options += ("--optimizer", "sgd", "--weight-decay", 0.001, "--freeze-epochs", 1)
    weights = ("--weights", first / "model.keras")
    arguments = ("--data", image_folder, "--epochs", 2, "--output", run, *FAST)
    done = kdl_here("train", *arguments, *weights, *options)
    assert done.returncode == 0, done.stderr
    assert "in 3 classes" in done.stdout
    asked = json.loads((run / "run.json").read_text())["arguments"]
    assert asked["learning_rate"] == 0.001
    assert (asked["optimizer"], asked["freeze_epochs"], asked["flip"]) == ("sgd", 1, True)
    tuned, source = (keras.models.load_model(f / "model.keras") for f in (run, first))
    assert tuned.output_shape == (None, 3)
    pairs = zip(tuned.weights, source.weights, strict=True)
    means = [(a, b) for a, b in pairs if a.name == "moving_mean"]
    assert means
    assert all((a.numpy() == b.numpy()).all() for a, b in means)  # averages were used, not moved
    done = kdl_here("train", *arguments, "--freeze-epochs", 1)
    assert "--freeze-epochs needs --weights" in error_line(done)


def test_the_default_rate_is_the_models(image_folder, tmp_path, monkeypatch):
    """And an interrupted run says how it goes on."""

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(kdl_library.training.ClassifierRun, "train", interrupt)
    for model, rate in (("squeezenet1_1", 0.0005), ("shufflenet_v2_x0_5", 0.02)):
        run = tmp_path / model
        done = kdl_here("train", "--model", model, "--data", image_folder, "--output", run, *FAST)
        assert done.returncode == 130
        assert "Stopped after epoch 0; the same command goes on after the last" in done.stderr
        assert json.loads((run / "run.json").read_text())["arguments"]["learning_rate"] == rate
    done = kdl_here("train", "--data", image_folder, "--output", run, *FAST, "--overwrite")
    assert "; the same command without --overwrite goes on after the last" in done.stderr


def wait_for_an_epoch(run, process, patience=300):
    """Until the run has finished an epoch."""
    deadline = time.monotonic() + patience
    while not list((run / "backup").glob("epoch-*")) and process.poll() is None:
        assert time.monotonic() < deadline, "no epoch was finished"
        time.sleep(0.05)
