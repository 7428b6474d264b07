"""Curves of several trainings in one plot."""

from collections.abc import Sequence

import numpy as np

from kdl._plots import make_figure, write_figure
from kdl._typing import Path


def plot_curves(
    rows: Sequence[dict],
    path: Path,
    key: str = "history",
    ylabel: str = "test accuracy",
    title: str = "",
) -> None:
    """Draws a curve of each row over the epochs.

    Args:
        rows: List of dicts with `"name"` and the values of the epochs under `key`; rows without
            any are left out.
        path: File to write; its ending says how, as in `kdl.training.plot_history`.
        key: Key of the values. Defaults to `"history"`.
        ylabel: Label of the values. Defaults to `"test accuracy"`.
        title: Title of the plot. Defaults to none.

    Raises:
        ValueError: If no row has values, or matplotlib does not know the ending.
        ImportError: If matplotlib is missing.
    """
    figure = make_figure((7, 4))
    axes = figure.subplots()
    draw_curves(axes, rows, key)
    axes.set_ylabel(ylabel)
    axes.set_title(title, parse_math=False)
    write_figure(figure, path)


def draw_curves(axes, rows, key="history", marker="o", fontsize=None):
    """Draws the curves in matplotlib's `axes`, with a legend, a grid and whole epochs."""
    shown = [row for row in rows if len(row.get(key, ()))]
    if not shown:
        raise ValueError(f"Expected at least one row with values under {key!r}; received none.")
    for row in shown:
        epochs = np.arange(1, len(row[key]) + 1)
        axes.plot(epochs, np.asarray(row[key]), marker=marker, label=row["name"])
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    # A name is no formula, whatever dollar signs it has.
    for text in axes.legend(fontsize=fontsize).get_texts():
        text.set_parse_math(False)
