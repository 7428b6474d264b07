import importlib.util
import os
import pathlib
import signal
import sys

import filelock
import hypothesis
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, os.path.dirname(__file__))

from selection import leave_out_what_runs_once

hypothesis.settings.register_profile("kdl", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("kdl")

collect_ignore = ["no_tensorflow"]

ROOT = pathlib.Path(__file__).resolve().parent.parent


def _tensorflow_missing():
    # One of the test runs puts a package `tensorflow` on the path that refuses to be imported.
    spec = importlib.util.find_spec("tensorflow")
    return spec is None or "no_tensorflow" in str(spec.origin)


def pytest_addoption(parser):
    parser.addoption(
        "--every-model",
        action="store_true",
        help="run all tests on this backend, and every network as it is (hours)",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "every_backend: not once, as most tests of its package")
    config.addinivalue_line("markers", "export: needs TensorFlow's converter")
    config.addinivalue_line("markers", "long_to_compile: long, but on PyTorch")
    config.addinivalue_line("markers", "long: a whole program, job or network, by `make test-long`")
    config.addinivalue_line("markers", "tensorflow: needs a library that imports TensorFlow")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--every-model"):
        leave_out_what_runs_once(config, items)
    # What takes minutes comes first, so that no process is left with it at the end.
    long = ("test_distribute.py", "test_readme.py")
    items.sort(key=lambda item: item.path.name not in long)
    if _tensorflow_missing():
        skip = pytest.mark.skip(reason="TensorFlow is hidden in this run")
        for item in items:
            if item.get_closest_marker("export") or item.get_closest_marker("tensorflow"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def once_a_run(tmp_path_factory, worker_id):
    """`once_a_run(name, write)`: the path that `write(path)` wrote in one process of the run.

    For what takes long and several of the processes need.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = folder if worker_id == "master" else folder.parent

    def once(name, write):
        path = folder / name
        with filelock.FileLock(f"{path}.lock"):
            if not path.exists():
                write(path)
        return path

    return once


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
