"""Figures: made, checked and written whole."""

import colorsys
import importlib.util
import os
import warnings

import numpy as np

from kdl._files import draft_of

# Those of matplotlib, in its order: "C0" … "C9".
_FIRST_COLORS = ("1f77b4", "ff7f0e", "2ca02c", "d62728", "9467bd", "8c564b", "e377c2", "7f7f7f",
                 "bcbd22", "17becf")  # fmt: skip


def class_colors(count):
    """A color for each class: matplotlib's ten, then others, none of them black.

    The further ones go round the circle of hues in golden angles, so that neighbors differ.

    Args:
        count: Number of classes.

    Returns:
        uint8 array `(count, 3)` in RGB.

    Example:
        >>> class_colors(11)[[0, 10]].tolist()
        [[31, 119, 180], [229, 91, 91]]
    """
    first = [list(bytes.fromhex(color)) for color in _FIRST_COLORS]
    others = [_hue(number * 0.381966, 0.6, 0.9 - 0.2 * (number % 3)) for number in range(count)]
    return np.array([*first, *others], "uint8")[:count]


def _hue(turn, saturation, value):
    rgb = colorsys.hsv_to_rgb(turn % 1, saturation, value)
    return [int(255 * part) for part in rgb]


def make_figure(size):
    """An empty figure.

    Args:
        size: Width and height in inches.

    Raises:
        ImportError: If matplotlib is missing; the message says how to get it.
    """
    _check_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def write_figure(figure, path, dpi=120):
    """Writes a matplotlib figure whole; the ending of `path` says how, and without one it is PNG.

    Args:
        figure: `matplotlib.figure.Figure`.
        path: File to write; its folder must exist.
        dpi: Dots per inch. Defaults to 120.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If matplotlib does not know the ending.
    """
    with draft_of(path) as draft, warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes, for all to see.
        warnings.filterwarnings("ignore", message="Glyph ", category=UserWarning)
        figure.savefig(draft, dpi=dpi, format=_figure_form(path))


def check_figure(path):
    """Raises an error, before long work is done, if no figure can be drawn for `path`.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If it does not know the ending.
    """
    _check_matplotlib()
    from matplotlib.backend_bases import FigureCanvasBase

    forms = sorted(FigureCanvasBase.get_supported_filetypes())
    if _figure_form(path) not in forms:
        raise ValueError(f"Expected {path} to end in one of {', '.join(forms)}, as plots do.")


def _figure_form(path):
    return os.path.splitext(os.fspath(path))[1].removeprefix(".").lower() or "png"


def _check_matplotlib():
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("Plots need: pip install matplotlib")
