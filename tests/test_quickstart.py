import os
import re
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest

import kdl
from kdl.data import read_model_info
from kdl.deploy import TFLiteRunner, verify_tflite

FORMS = ("float32", "float16", "int8")


@pytest.fixture(scope="module")
def artifacts(root):
    return root / "saved_models" / "quickstart"


@pytest.fixture(scope="module")
def test_digits():
    return kdl.data.digits(size=48)[1]


@pytest.fixture(scope="module")
def model(artifacts):
    return keras.models.load_model(artifacts / "model.keras")


def test_the_model_loads_on_this_backend_and_is_accurate(model, test_digits):
    images, labels = test_digits
    scores = model.predict(images, verbose=0)
    assert np.mean(scores.argmax(-1) == labels) >= 0.97


@pytest.mark.parametrize("form", FORMS)
def test_the_files_answer_like_the_model(form, artifacts, model, test_digits):
    result = verify_tflite(artifacts / f"{form}.tflite", model, test_digits)
    assert result.passed, str(result)
    assert result.quantization == form
    assert result.tflite_accuracy >= 0.97


def test_the_card_tells_the_accuracies(artifacts, test_digits):
    images, labels = test_digits
    card = (artifacts / "README.md").read_text()
    for form in FORMS:
        scores = TFLiteRunner(artifacts / f"{form}.tflite").predict(images)[0]
        accuracy = np.mean(scores.argmax(-1) == labels)
        told = re.search(rf"\| {form}\.tflite \|[^|]*\|[^|]*\| ([\d.]+)", card)[1]
        assert abs(float(told) - accuracy) < 0.003  # one image: machines round differently


def test_labels_and_input_scale_are_in_the_files(artifacts):
    for name in ("model.keras", *(f"{form}.tflite" for form in FORMS)):
        info = read_model_info(artifacts / name)
        assert info.labels == [str(digit) for digit in range(10)]
        assert info.input_spec.size == (48, 48)


@pytest.mark.long
@pytest.mark.every_backend
@pytest.mark.export
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="as `make quickstart` runs it")
def test_the_script_runs(root, tmp_path):
    done = subprocess.run(
        [sys.executable, "examples/quickstart.py", "--smoke", "--output", str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == sorted(os.listdir(root / "saved_models" / "quickstart"))
    for form in FORMS:
        assert f"{form}.tflite" in done.stdout


def test_the_labels_of_the_plot_stay_in_their_panels(root, monkeypatch):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    plot_files = runpy.run_path(str(root / "examples" / "quickstart.py"))["plot_files"]
    sizes = {"float32": 1429, "float16": 781, "int8": 523}
    rows = [
        {"file": f"{form}.tflite", "kib": kib, "ms": kib / 2e4, "accuracy": 0.9806}
        for form, kib in sizes.items()
    ]
    plot_files(rows, "files.png")
    [figure] = figures
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        assert len(axes.texts) == 3
        for text in axes.texts:
            box = text.get_window_extent()
            assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
