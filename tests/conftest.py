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
    config.addinivalue_line("markers", "export: needs TensorFlow's converter")
    config.addinivalue_line("markers", "tensorflow: needs a library that imports TensorFlow")


def pytest_collection_modifyitems(items):
    _skip_exports_of_other_backends(items)
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
