"""The typer application that every module of commands adds to."""

import sys
from typing import Annotated, Literal

import typer

from kdl import __version__

# Frames and colors are for people: a pipe gets plain lines of any length.
_MARKUP: Literal["rich"] | None = "rich" if sys.stdout.isatty() and sys.stderr.isatty() else None

app = typer.Typer(
    help="Efficient vision models from training to the device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=_MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted):
    if wanted:
        print(f"kdl {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
):
    """Efficient vision models from training to the device."""
