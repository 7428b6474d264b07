import contextlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

from kdl import cli
from kdl.training.backup import read_history

os.environ["COLUMNS"] = "200"
cli.out, cli.err = (type(cli.out)(stderr=stderr, width=200) for stderr in (False, True))

FAST = ["--size", "32", "--shift", "0", "--batch-size", "16"]


def command(*arguments):
    return [sys.executable, "-m", "kdl", *map(str, arguments)]


def kdl(*arguments):
    """The command in a process of its own."""
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment, check=False
    )


def kdl_here(*arguments):
    """The command in this process: the same, without seconds of imports."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["kdl", *map(str, arguments)]
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            warnings.simplefilter("default")
            cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = argv
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def error_line(done):
    """The one line of an expected failure."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def artefacts(root):
    return root / "saved_models" / "quickstart"


@pytest.fixture
def pictures(tmp_path):
    """Two classes of eight pictures each, a truncated file and a text among them."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(120 * label, 120 * label + 100, (40, 36, 3), "uint8")
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    whole = (folder / "dark" / "0.png").read_bytes()
    (folder / "dark" / "cut.png").write_bytes(whole[:1000])
    (folder / "light" / "notes.jpg").write_text("not a picture")
    return folder


def test_list():
    done = kdl("list")
    assert done.returncode == 0
    assert "shufflenet_v2_x1_0" in done.stdout
    assert "2,278,604" in done.stdout
    assert "69.36 % top-1" in done.stdout


def test_summary():
    done = kdl_here("summary", "shufflenet_v2_x0_5", "--size", "64", "--classes", "10")
    assert done.returncode == 0
    assert "stage4_unit3" in done.stdout


@pytest.fixture
def three(tmp_path):
    """A picture of a digit as scikit-learn ships it."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    picture = Image.fromarray((digits.images[3] * 255 / 16).astype("uint8"))
    picture.save(tmp_path / "three.png")
    return tmp_path / "three.png"


@pytest.mark.parametrize("name", ["model.keras", "int8.tflite"])
def test_predict(artefacts, three, name):
    done = kdl_here("predict", artefacts / name, three, "--top", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"│ 3 +│ (1\.000|0\.9\d\d) │", done.stdout), done.stdout
    as_option = kdl_here("predict", three, "--model", artefacts / name, "--top", "1")
    assert as_option.stdout == done.stdout


def test_predict_several_pictures(artefacts, three, tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "black.png")
    done = kdl_here("predict", artefacts / "int8.tflite", three, tmp_path / "black.png")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"│ \d +│ \d\.\d{3} │", done.stdout)) == 6
    assert done.stdout.index("three.png") < done.stdout.index("black.png")


# Stands before the command, in a process of its own: what a small device does not have.
WITHOUT_KERAS = """
import sys
for name in ("keras", "tensorflow", "jax", "torch"):
    sys.modules[name] = None  # to import it is an error
from kdl.__main__ import main
sys.argv[0] = "kdl"
main()
"""


def test_commands_on_tflite_files_need_no_keras(artefacts, three):
    def alone(*arguments):
        return subprocess.run(
            [sys.executable, "-c", WITHOUT_KERAS, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
            check=False,
        )

    done = alone("predict", artefacts / "int8.tflite", three, "--top", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"│ 3 +│ (1\.000|0\.9\d\d) │", done.stdout), done.stdout
    done = alone("benchmark", artefacts / "int8.tflite", "--runs", "3")
    assert done.returncode == 0, done.stderr
    assert "int8" in done.stdout
    # The block works: a model of Keras's cannot be loaded.
    assert alone("predict", artefacts / "model.keras", three).returncode == 1


def test_verify(artefacts, tmp_path):
    done = kdl_here("verify", artefacts / "int8.tflite", artefacts / "model.keras")
    assert done.returncode == 0, done.stderr
    assert "passed as int8, 360 inputs" in done.stdout
    model = keras.models.load_model(artefacts / "model.keras")
    model.set_weights([w * 0.9 for w in model.get_weights()])
    model.save(tmp_path / "other.keras")
    done = kdl_here("verify", artefacts / "int8.tflite", tmp_path / "other.keras")
    assert done.returncode == 1
    assert "FAILED" in done.stdout


def test_check(artefacts, tmp_path):
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    done = kdl_here("check", artefacts / "int8.tflite", "--html", page, "--json", data)
    assert done.returncode == 0, done.stderr
    assert "runs. 143 operations: 143 runs." in done.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(data.read_text())["verdict"] == "runs"
    done = kdl_here("check", artefacts / "float32.tflite", "--target", "edgetpu")
    assert done.returncode == 1
    assert "it takes int8 and uint8 only" in done.stdout


def test_benchmark(artefacts, tmp_path):
    plot = tmp_path / "plot.png"
    done = kdl_here(
        "benchmark",
        *(artefacts / "int8.tflite", artefacts / "float32.tflite"),
        *("--runs", "5", "--profile", "--plot", plot),
    )
    assert done.returncode == 0, done.stderr
    # Two files with four times each, and two kinds of memory.
    assert len(re.findall(r"│ \d+\.\d{3} +(?=│ \d)", done.stdout)) >= 8
    assert len(re.findall(r"│ \d+\.\d +│ \d+\.\d +│\n", done.stdout)) == 2
    assert "DWConv" in done.stdout
    assert plot.stat().st_size > 5000


@pytest.mark.export
def test_export(artefacts, tmp_path):
    target = tmp_path / "again.tflite"
    arguments = ("--quantization", "int8", "--data", "digits")
    done = kdl_here("export", artefacts / "model.keras", target, *arguments, "--sidecar")
    assert done.returncode == 0, done.stderr
    assert "passed as int8" in done.stdout
    assert target.exists()
    assert '"kind": "int8"' in (tmp_path / "again.tflite.json").read_text()
    done = kdl_here(
        "export", artefacts / "model.keras", tmp_path / "x.tflite", "--quantization", "int8"
    )
    assert "int8 needs representative_data" in error_line(done)


def test_train_on_a_folder_then_predict(pictures, tmp_path):
    run = tmp_path / "run"
    arguments = ("--data", pictures, "--epochs", "2", "--output", run, *FAST)
    done = kdl("train", *arguments)
    assert done.returncode == 0, done.stderr
    assert "warning:" in done.stderr
    assert "2 file(s)" in done.stderr
    assert "cut.png" in done.stderr
    assert "notes.jpg" in done.stderr
    assert "2 epochs" in done.stdout
    again = kdl_here("train", *arguments)
    assert again.returncode == 0
    assert "finished: 2 epochs" in again.stdout
    other = kdl_here("train", *arguments[:3], "3", *arguments[4:])
    assert "other arguments (epochs: 2 there, 3 now)" in error_line(other)
    done = kdl_here("predict", pictures / "light" / "1.png", "--model", run / "model.keras")
    assert done.returncode == 0, done.stderr
    assert "dark" in done.stdout
    assert "light" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--model", "resnet"], "There is no model 'resnet'"),
        (["train", "--data", "missing"], "no folder or zip archive missing"),
        (["train", "--output", "/proc/run"], "/proc/run"),
        (["verify", "missing.tflite", "missing.keras"], "no such model file"),
        (["predict", "missing.png"], "missing.png"),
        (["predict", "missing.tflite", "missing.png"], "missing.tflite"),
        (["predict", "a.tflite", "b.png", "--model", "c.tflite"], "one model; received a.tflite"),
        (["predict", "a.tflite"], "Expected a picture after a.tflite"),
        (["benchmark", "missing.tflite"], "no such .tflite file"),
        (["check", "missing.tflite"], "no such .tflite file"),
        (["check", "missing.tflite", "--target", "npu"], "target must be one of"),
        (["export", "missing.keras", "m.tflite"], "no such model file"),
        (["summary", "resnet"], "There is no model 'resnet'"),
    ],
)
def test_bad_input_is_one_line(arguments, message, root, monkeypatch):
    monkeypatch.chdir(root)
    assert message in error_line(kdl_here(*arguments))


def test_an_empty_class_folder_is_named(pictures, tmp_path):
    (pictures / "empty").mkdir()
    done = kdl_here("train", "--data", pictures, "--output", tmp_path / "run")
    assert "'empty'" in error_line(done)
    assert not (tmp_path / "run").exists()


def test_a_size_below_the_least_is_refused(tmp_path):
    done = kdl_here("train", "--size", "16", "--output", tmp_path / "run")
    assert done.returncode == 2
    assert "32" in done.stderr


def test_a_picture_that_is_none(tmp_path, artefacts):
    (tmp_path / "text.png").write_text("hello")
    done = kdl_here("predict", tmp_path / "text.png", "--model", artefacts / "int8.tflite")
    assert "text.png" in error_line(done)


def test_a_killed_run_resumes(pictures, tmp_path):
    """Killed at a random moment and started again, a run has all epochs once, and all its steps."""
    run, epochs = tmp_path / "run", 6
    arguments = ("train", "--data", pictures, "--epochs", epochs, "--output", run, *FAST)
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


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="compiling takes a minute; the road is the same"
)
def test_two_devices(pictures, tmp_path):
    """Two processes leave one run, whose errors are one line."""
    run = tmp_path / "run"
    fast = (*FAST, "--batch-size", 8)  # of twelve pictures
    arguments = ("train", "--devices", 2, "--data", pictures, "--output", run, *fast)
    done = kdl(*arguments, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 epochs, 2 steps") == 1
    assert sorted(path.name for path in run.iterdir()) == [
        "confusion.png",
        "curves.png",
        "history.csv",
        "model.keras",
        "run.json",
    ]
    assert len(read_history(run / "history.csv")) == 2
    assert "epochs: 2 there, 3 now" in error_line(kdl(*arguments, "--epochs", 3))


def wait_for_an_epoch(run, process, patience=300):
    """Until the run has finished an epoch."""
    deadline = time.monotonic() + patience
    while not list((run / "backup").glob("epoch-*")) and process.poll() is None:
        assert time.monotonic() < deadline, "no epoch was finished"
        time.sleep(0.05)
