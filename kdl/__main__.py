"""The `kdl` command, also as `python -m kdl`."""

import contextlib
import os
import sys

_STOPPED = 130  # as of every program that Ctrl-C stops


def main():
    """Runs the command, or says what must be installed for it."""
    _open_streams()
    try:
        _command()()
    except KeyboardInterrupt:  # while modules are imported
        _exit(_STOPPED)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            raise
        if stop.code:
            _exit(stop.code)


def _open_streams():
    """Outputs that take every text, also where a service closes them or their letters are few."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w"))
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def _command():
    try:
        from kdl.cli import main as run
    except ImportError as error:
        sys.exit(f"error: {error}. The kdl command needs: pip install typer rich")
    return run


def _exit(status):
    """Ends the process without HDF5's own clean-up, which crashes after a write that failed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    # `python -m` looks for modules in the current folder first, where images may lie.
    if not sys.flags.safe_path and sys.path[0] == os.getcwd():
        del sys.path[0]
    main()
