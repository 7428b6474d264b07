"""Figures: made, checked and written whole."""

import importlib.util
import os
import warnings

from kdl._files import draft_of


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
