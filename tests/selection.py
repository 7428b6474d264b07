"""Which tests run on which backend, and which of them `make test` leaves to `make test-long`.

PyTorch starts and builds fastest: all tests run on it. TensorFlow and JAX compile each operation or
step for each shape, which takes most of their time. So there

- all tests of the packages `WHOLE` run, which compute with the backend, and of other packages
  those marked `every_backend`: what a network, a method or a file gives, and whatever takes another
  way on another backend. Arguments, messages, names, files and plain Python are no backend's.
- what is exported is so once, unless it is marked `every_backend`: one TensorFlow process converts,
  whatever the backend.

Long are, and left out of the twenty minutes of `make test`,

- whole programs, jobs and networks whose parts other tests hold: they are marked `long`.
- on TensorFlow and JAX, of the packages `WHOLE`, tests whose name does not tell that they hold a
  `CONTRACT`, and all cases of a test but the first; of a registry's cases the first of each `name`.
  What is marked `every_backend` runs with all, such as operators that take ways of their own there,
  unless it is marked `long_to_compile`.

`.ci/run` runs both, on a slow machine the long ones on PyTorch alone. `--every-model` runs all on
each backend.
"""

import os
import re

import pytest

WHOLE = {"layers", "losses", "metrics", "ops"}

# Of a layer, loss or metric: all that `kdl.testing` asks, its definition, gradient, compiled steps.
CONTRACT = re.compile(
    "test_layer|test_loss|contract|definition|formula|worked|gradient|compiled|equal|match"
)


def leave_out_what_runs_once(config, items):
    """Leaves the tests out of a run on TensorFlow or JAX that PyTorch's run is enough for.

    Of those that stay it marks the long ones.
    """
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "torch":
        return
    once = [item for item in items if not _depends_on_backend(item)]
    config.hook.pytest_deselected(items=once)
    items[:] = [item for item in items if _depends_on_backend(item)]
    seen = set()
    for item in items:
        is_brief = item.get_closest_marker("every_backend") or _is_brief(item, seen)
        if not is_brief or item.get_closest_marker("long_to_compile"):
            item.add_marker(pytest.mark.long)


def _depends_on_backend(item):
    if item.get_closest_marker("every_backend"):
        return True
    package = item.path.parts[item.path.parts.index("tests") + 1] if _is_in_tests(item) else None
    return package in WHOLE and not item.get_closest_marker("export")


def _is_in_tests(item):
    return "tests" in item.path.parts


def _is_brief(item, seen):
    """Whether a test holds a contract, and is the first case of it."""
    parameters = getattr(item, "callspec", None)
    test = (item.path, item.originalname, parameters and parameters.params.get("name"))
    is_first = test not in seen
    seen.add(test)
    return is_first and CONTRACT.search(item.originalname) is not None
