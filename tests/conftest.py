import importlib.util
import os
import pathlib
import sys

import hypothesis
import pytest

sys.path.insert(0, os.path.dirname(__file__))

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
        help="compare, flatten and export every network as it is, not one of each class (an hour)",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "every_backend: of an application, and not once for all")
    config.addinivalue_line("markers", "export: needs TensorFlow's converter")
    config.addinivalue_line("markers", "tensorflow: needs a library that imports TensorFlow")


def pytest_collection_modifyitems(config, items):
    _skip_exports_of_other_backends(items)
    if not config.getoption("--every-model"):
        _skip_applications_of_other_backends(items)
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
        rooms = {"layers", "applications", "compression", "ensembles", "segmentation"}
        once = rooms & set(item.path.parts)
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
