"""Which tests run on which backend.

PyTorch starts and builds fastest: all tests but the long ones run on it. TensorFlow and JAX compile
each operation or step for each shape, which takes most of their time. So there

- all tests of the packages `WHOLE` run, which compute with the backend, and of other packages
  those marked `every_backend`: what a network, a method or a file gives, and whatever takes another
  way on another backend. Arguments, messages, names, files and plain Python are no backend's.
- what is exported is so once, unless it is marked `every_backend`: one TensorFlow process converts,
  whatever the backend.
- of the cases of a test the first runs, and where they are of a registry, the first of each `name`.
  What is marked `every_backend` runs with all: such as operators that take other ways on another.

Tests marked `long` are whole programs, jobs and networks whose parts other tests hold. `make test`
leaves them to `make test-long`, and `.ci/run` runs both. `--every-model` runs all on each.
"""

import os

import pytest

WHOLE = {"layers", "losses", "metrics", "ops"}

ONCE = pytest.mark.skip(reason="once, on PyTorch; --every-model runs it here, too")


def skip_what_runs_once(items):
    """Marks the tests of a run on TensorFlow or JAX that PyTorch's run is enough for."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "torch":
        return
    seen = set()
    for item in items:
        if not _depends_on_backend(item) or _is_a_further_case(item, seen):
            item.add_marker(ONCE)


def _depends_on_backend(item):
    if item.get_closest_marker("every_backend"):
        return True
    package = item.path.parts[item.path.parts.index("tests") + 1] if _is_in_tests(item) else None
    return package in WHOLE and not item.get_closest_marker("export")


def _is_in_tests(item):
    return "tests" in item.path.parts


def _is_a_further_case(item, seen):
    """Whether another case of the test came before, and one is enough."""
    if item.get_closest_marker("every_backend") or not hasattr(item, "callspec"):
        return False
    test = (item.path, item.originalname, item.callspec.params.get("name"))
    is_known = test in seen
    seen.add(test)
    return is_known
