import importlib.util
import os
import pathlib
import signal
import sys

import hypothesis
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, os.path.dirname(__file__))

hypothesis.settings.register_profile("kdl", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("kdl")

collect_ignore = ["no_tensorflow"]

# What no backend computes is tested once, on PyTorch, whose run starts fastest.
OF_NO_BACKEND = {
    "deploy": (
        *("test_bad_files", "test_benchmark", "test_check", "test_cpu_rules", "test_device_plot"),
        *(
            "test_device_report",
            "test_device_run",
            "test_edgetpu_rules",
            "test_foreign_metadata",
            "test_gate",
        ),
        *("test_gpu_rules", "test_kinds_of_files", "test_operation_macs", "test_proof_data"),
        *("test_sidecar", "test_tensor_names", "test_tflite_graph", "test_tflite_validation"),
    ),
    "data": ("test_archives", "test_image_files", "test_input_spec", "test_model_info"),
    "cli": (
        *("test_benchmark_command", "test_check_command", "test_command_errors", "test_console"),
        *("test_export_command", "test_models_command", "test_predict_command"),
        "test_train_command",
    ),
    "tests": ("test_checks", "test_files", "test_packaging", "test_process"),
}

ROOT = pathlib.Path(__file__).resolve().parent.parent


def _tensorflow_missing():
    # One of the test runs puts a package `tensorflow` on the path that refuses to be imported.
    spec = importlib.util.find_spec("tensorflow")
    return spec is None or "no_tensorflow" in str(spec.origin)


def pytest_addoption(parser):
    parser.addoption(
        "--every-model",
        action="store_true",
        help="compare, flatten and export every network as it is, not one of each class (an hour)",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "every_backend: of an application or command, and not once")
    config.addinivalue_line("markers", "export: needs TensorFlow's converter")
    config.addinivalue_line("markers", "tensorflow: needs a library that imports TensorFlow")


def pytest_collection_modifyitems(config, items):
    _skip_exports_of_other_backends(items)
    if not config.getoption("--every-model"):
        _skip_applications_of_other_backends(items)
        _skip_what_no_backend_computes(items)
    if _tensorflow_missing():
        skip = pytest.mark.skip(reason="TensorFlow is hidden in this run")
        for item in items:
            if item.get_closest_marker("export") or item.get_closest_marker("tensorflow"):
                item.add_marker(skip)


def _skip_exports_of_other_backends(items):
    """`tests/deploy` exports from every backend; what is exported elsewhere is so once."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        return
    skip = pytest.mark.skip(reason="one TensorFlow process converts whatever the backend")
    for item in items:
        packages = {"layers", "applications", "compression", "ensembles", "segmentation"}
        once = packages & set(item.path.parts)
        if once and item.get_closest_marker("export"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def root():
    return ROOT


def _skip_applications_of_other_backends(items):
    """Arguments, names and shapes of a whole network are Keras's: PyTorch builds it fastest.

    What a network computes and how it trains is marked `every_backend`; what it is made of, the
    layers, is tested on every backend anyway.
    """
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "torch":
        return
    skip = pytest.mark.skip(reason="once, on PyTorch; --every-model runs it here, too")
    for item in items:
        kept = any(item.get_closest_marker(name) for name in ("every_backend", "export"))
        if "applications" in item.path.parts and not kept:
            item.add_marker(skip)


def _skip_what_no_backend_computes(items):
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "torch":
        return
    skip = pytest.mark.skip(
        reason="of no backend: once, on PyTorch; --every-model runs it here, too"
    )
    for item in items:
        kept = item.get_closest_marker("every_backend")
        if not kept and item.path.stem in OF_NO_BACKEND.get(item.path.parent.name, ()):
            item.add_marker(skip)


@pytest.fixture
def signals_in_force():
    """Signals end what a test starts, also where `nohup` or a shell's `&` has them ignored."""
    effects = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, effect) for number, effect in effects.items()}
    yield
    for number, effect in before.items():
        signal.signal(number, effect)


@pytest.fixture
def artifacts(root):
    return root / "saved_models" / "quickstart"


@pytest.fixture
def image_folder(tmp_path):
    """Two classes of eight images each, a truncated file and a text among them."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(120 * label, 120 * label + 100, (40, 36, 3), "uint8")
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    whole = (folder / "dark" / "0.png").read_bytes()
    (folder / "dark" / "cut.png").write_bytes(whole[:1000])
    (folder / "light" / "notes.jpg").write_text("not an image")
    return folder


@pytest.fixture
def three(tmp_path):
    """An image of a digit as scikit-learn ships it."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    image = Image.fromarray((digits.images[3] * 255 / 16).astype("uint8"))
    image.save(tmp_path / "three.png")
    return tmp_path / "three.png"
