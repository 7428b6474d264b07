"""The `kdl` command, also as `python -m kdl`."""

import sys


def main():
    """Runs the command, or says what must be installed for it."""
    try:
        from kdl.cli import main as run
    except ImportError as error:
        sys.exit(f"error: {error}. The kdl command needs: pip install 'kdl[cli]'")
    run()


if __name__ == "__main__":
    main()
