"""The `kdl` command, also as `python -m kdl`."""

import os
import sys


def main():
    """Runs the command, or says what must be installed for it."""
    try:
        from kdl.cli import main as run
    except ImportError as error:
        sys.exit(f"error: {error}. The kdl command needs: pip install 'kdl[cli]'")
    try:
        run()
    except SystemExit as stop:
        if stop.code:
            # HDF5 crashes in its own clean-up after a write that failed: skip it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(stop.code)


if __name__ == "__main__":
    main()
