"""Images beside their label maps."""

from collections.abc import Sequence

import numpy as np

from kdl._checks import check_integer
from kdl._plots import make_figure, write_figure
from kdl._typing import ArrayLike, Path


def plot_segmentation(
    images: ArrayLike,
    label_maps: dict[str, np.ndarray],
    path: Path,
    classes: int,
    count: int = 4,
    colors: Sequence | None = None,
) -> None:
    """Draws some images, and beside each its label maps in colors.

    Args:
        images: `(samples, height, width, 3)` in [0, 1].
        label_maps: Dict: title → integers `(samples, height, width)`, such as the truth and what
            several networks predict. Labels outside `0 … classes − 1` are drawn black.
        path: File to write; its ending says how, as in `kdl.training.plot_history`.
        classes: Number of classes.
        count: Most images, spread evenly over all. Defaults to 4.
        colors: A color for each class, of any form that matplotlib reads; None (default) for those
            of matplotlib.

    Raises:
        ValueError: If there are no images, the maps have another size, or colors are too few.
        ImportError: If matplotlib is missing.
    """
    images = np.asarray(images)
    palette = _palette(classes, colors)
    for title, labels in label_maps.items():
        if np.shape(labels) != images.shape[:3]:
            raise ValueError(
                f"Expected the label maps {title!r} of shape {images.shape[:3]}, as the images; "
                f"received {np.shape(labels)}."
            )
    count = min(check_integer("count", count), len(images))
    rows = np.linspace(0, len(images) - 1, count).astype(int)
    figure = make_figure((2.5 * (1 + len(label_maps)), 1.9 * count))
    grid = figure.subplots(count, 1 + len(label_maps), squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        axes[0].imshow(np.clip(images[row], 0, 1))
        for axis, labels in zip(axes[1:], label_maps.values(), strict=True):
            known = (labels[row] >= 0) & (labels[row] < classes)
            axis.imshow(palette[np.where(known, labels[row], classes)])
    for axis, title in zip(grid[0], ("image", *label_maps), strict=True):
        axis.set_title(title, fontsize=9, parse_math=False)
    for axis in grid.flat:
        axis.set_axis_off()
    write_figure(figure, path, dpi=100)


def _palette(classes, colors):
    """RGB of the classes, and black."""
    from matplotlib.colors import to_rgb

    if colors is None:
        colors = [f"C{number % 10}" for number in range(classes)]
    if len(colors) < classes:
        raise ValueError(f"Expected a color for each of {classes} classes; received {len(colors)}.")
    return np.array([*map(to_rgb, colors[:classes]), (0, 0, 0)])
