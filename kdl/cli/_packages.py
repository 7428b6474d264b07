"""kdl's packages and Keras, imported when a command needs them, and quietly."""

import contextlib
import importlib
import os
import sys
import tempfile

from kdl._lazy import import_with_keras


def package(name):
    """A package of kdl, without the lines that TensorFlow prints while it is imported."""
    with quiet_stderr():
        return import_with_keras(f"kdl.{name}")


def keras_package():
    """Keras, without the lines that its backend prints while it is imported."""
    with quiet_stderr():
        return importlib.import_module("keras")


@contextlib.contextmanager
def quiet_stderr():
    """Hides what native libraries write past `sys.stderr`; what Python writes there is shown."""
    sys.stderr.flush()
    python = sys.stderr
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink, os.fdopen(kept, "w") as shown:
        os.dup2(sink.fileno(), 2)
        if _is_descriptor_2(python):
            sys.stderr = shown
        try:
            yield
        finally:
            sys.stderr = python
            shown.flush()
            os.dup2(kept, 2)


def _is_descriptor_2(stream):
    try:
        return stream.fileno() == 2
    except (OSError, AttributeError):  # a stream in memory
        return False
