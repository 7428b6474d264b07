"""The `kdl` command as tests run it."""

import contextlib
import io
import os
import subprocess
import sys
import warnings

from kdl import cli
from kdl.cli import console

os.environ["COLUMNS"] = "200"
console.out, console.err = (type(console.out)(stderr=stderr, width=200) for stderr in (False, True))

# The backend that starts fastest, for what computes nothing.
QUICK = {"KERAS_BACKEND": "numpy"}

FAST = ["--size", "32", "--shift", "0", "--batch-size", "16"]


def command(*arguments):
    return [sys.executable, "-m", "kdl", *map(str, arguments)]


def kdl(*arguments, **variables):
    """The command in a process of its own, with these environment variables."""
    environment = {**os.environ, "NO_COLOR": "1", **variables}
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
