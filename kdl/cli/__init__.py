"""The `kdl` command: a module a group of verbs. It prints and saves; the work is done elsewhere."""

import os
import sys
import warnings

from kdl.cli import benchmark, check, console, export, models, predict, train
from kdl.cli._app import app

# What the library raises of a user's files and options.
_EXPECTED = (ValueError, OSError, ImportError, RuntimeError)
_TRACEBACK = "KDL_TRACEBACK"


def main():
    """Runs the command; errors become one line and exit status 1."""
    warnings.showwarning = console.show_warning
    # A machine without a GPU is no error, and TensorFlow prints one.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        app()
    except Exception as error:
        if os.environ.get(_TRACEBACK):
            raise
        console.error(error if isinstance(error, _EXPECTED) else _of_another_kind(error))
        sys.exit(1)


def _of_another_kind(error):
    if isinstance(error, MemoryError):
        return "This needs more memory than there is. Smaller images or batches take less."
    return (
        f"{type(error).__name__}: {error}. kdl did not expect this: please report it, with what "
        f"the same command shows with {_TRACEBACK}=1 in the environment."
    )
