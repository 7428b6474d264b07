"""Tables of results as text."""

import unicodedata
from collections.abc import Callable, Iterable


def format_table(
    rows: Iterable[dict], columns: dict[str, tuple[str, str | Callable]], title: str = ""
) -> str:
    """Formats rows of results as a table of text.

    The first column is set to the left, all others to the right. Where a row lacks a value, its
    cell stays empty.

    Args:
        rows: List of dicts.
        columns: Dict: heading → `(key, form)`, where `form` is a format string such as
            `"{:.4f}"`, or a function that gives the text of a value.
        title: A line above the table. Defaults to none.

    Returns:
        The table, lines without an end.

    Example:
        >>> rows = [{"name": "wide", "accuracy": 0.9}, {"name": "narrow", "accuracy": 0.85}]
        >>> print(format_table(rows, {"network": ("name", "{}"), "test": ("accuracy", "{:.2f}")}))
        network  test
        ─────────────
        wide     0.90
        narrow   0.85
    """
    lines = [list(columns)]
    for row in rows:
        lines.append([_cell(row, key, form) for key, form in columns.values()])
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    text = [_joined(line, widths) for line in lines]
    text.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([title] * bool(title) + text)


def _cell(row, key, form):
    if row.get(key) is None:
        return ""
    return form.format(row[key]) if isinstance(form, str) else form(row[key])


def _joined(cells, widths):
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0] + " " * (first[1] - _width(first[0]))]
    padded += [" " * (width - _width(cell)) + cell for cell, width in others]
    return "  ".join(padded).rstrip()


def _width(text):
    """Columns on a screen: letters of East Asia take two, marks upon letters none."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))
