"""Output of the command.

All text goes through here, since labels, file names and tensor names are other people's: they are
never read as rich's markup, and control characters in them are shown, not sent to the terminal.
"""

import contextlib
import json
import math
import unicodedata

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdl.cli._wording import in_words_of_the_command

out = Console()
err = Console(stderr=True)

# Control characters, halves of surrogate pairs, separators of lines and paragraphs.
_HIDDEN = ("Cc", "Cs", "Zl", "Zp")
# They turn the direction of the text around.
_TURNING = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def printable(text, keep=""):
    r"""`text` with every character that a terminal would obey written as an escape sequence.

    Args:
        text: Anything; `str` is taken of it.
        keep: Control characters that stay.

    Example:
        >>> printable("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    return "".join(
        char.encode("unicode_escape").decode() if _is_obeyed(char) and char not in keep else char
        for char in str(text)
    )


def say(text):
    """Prints lines of text as they are."""
    _print(out, printable(text, keep="\n"))


def say_json(content):
    """Prints plain Python values as JSON, with null for NaN and infinities, which it lacks."""
    print(json.dumps(_finite(content), indent=2), file=out.file, flush=True)


def note(text):
    """Prints lines beside the output, which they are no part of."""
    _print(err, printable(text, keep="\n"))


def error(text):
    """Prints a failure as one line."""
    _print(err, f"error: {_one_line(text)}", "red")


def show_warning(message, category, filename, lineno, file=None, line=None):
    """Prints a warning as one line, in place of `warnings.showwarning`."""
    _print(err, f"warning: {_one_line(message)}", "yellow")


def table(columns, rows):
    """Prints a table: drawn on a terminal, else lines whose columns are separated by tabs.

    Args:
        columns: Dict: heading → `"text"`, which may be folded; `"name"`, which is not; or
            `"number"`, which is not and stands on the right.
        rows: List of lists of cells.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    if not out.is_terminal:
        for row in ([*columns], *rows):
            _print(out, "\t".join(row))
        return
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, (heading, kind) in enumerate(columns.items()):
        widest = max([len(heading.split()[0]), *(Text(row[number]).cell_len for row in rows)])
        drawn.add_column(
            heading,
            justify="right" if kind == "number" else "left",
            overflow="fold",
            min_width=widest if kind != "text" else None,
        )
    for row in rows:
        drawn.add_row(*map(Text, row))
    out.print(drawn)


@contextlib.contextmanager
def working(text):
    """Says what takes long while it does: a spinner on a terminal, else a line beside the output.

    Args:
        text: What is being done.
    """
    if not err.is_terminal:
        _print(err, f"{printable(text)} …")
        yield
        return
    with err.status(Text(f"{printable(text)} …")):
        yield


def _print(console, text, style=None):
    if console.is_terminal:  # a Text is neither markup nor emoji code
        console.print(Text(text, style or ""), soft_wrap=True, highlight=False)
    else:  # where rich would turn tabs into blanks
        print(text, file=console.file, flush=True)


def _one_line(text):
    return printable(in_words_of_the_command(" ".join(str(text).split())))


def _finite(content):
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _is_obeyed(char):
    return unicodedata.category(char) in _HIDDEN or char in _TURNING
