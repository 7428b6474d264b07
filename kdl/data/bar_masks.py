"""Bars whose class only one end tells, for segmentation that needs context from afar."""

import numpy as np

from kdl._checks import check_integer

BAR_CLASSES = ("ground", "red row", "blue row", "red column", "blue column")
_BREADTH, _PITCH, _END = 4, 8, 8  # pixels of a bar, from one place to the next, colored
_NOISE = 0.3
_COLORS = ((1, -1, -1), (-1, -1, 1))


def bar_masks(
    count: int, height: int = 64, width: int = 96, bars: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws gray bars across noise: only the color of one end tells the class of a whole bar.

    As many bars run along rows as along columns. The classes are ground, red row, blue row, red
    column and blue column, 0 … 4. Where bars cross, the class is unknown: 5.

    Args:
        count: Number of images.
        height: Height, a multiple of 8. Defaults to 64.
        width: Width, a multiple of 8. Defaults to 96.
        bars: Bars in each direction, at most one for 8 pixels. Defaults to 3.
        seed: Non-negative integer.

    Returns:
        `(images, labels)`: float32 `(count, height, width, 3)` about zero, and int32 `(count,
        height, width)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> images, labels = bar_masks(2)
        >>> images.shape, labels.shape, np.unique(labels).tolist()
        ((2, 64, 96, 3), (2, 64, 96), [0, 1, 2, 3, 4, 5])
    """
    count = check_integer("count", count)
    for name, side in (("height", height), ("width", width)):
        if check_integer(name, side, least=2 * _PITCH) % _PITCH:
            raise ValueError(f"{name} must be a multiple of {_PITCH}; received {side}.")
    bars = check_integer("bars", bars, least=0, most=min(height, width) // _PITCH)
    rng = np.random.default_rng(check_integer("seed", seed, least=0))
    images = rng.normal(0, _NOISE, (count, height, width, 3)).astype("float32")
    labels = np.zeros((count, height, width), "int32")
    for image, label in zip(images, labels, strict=True):
        _draw(image, label, bars, 1, rng)
        # Columns are the rows of the turned image.
        _draw(image.swapaxes(0, 1), label.swapaxes(0, 1), bars, 3, rng)
    return images, labels


def _draw(image, label, bars, first_class, rng):
    """Draws bars along the rows of an image, and labels them."""
    for start in rng.choice(len(image) // _PITCH, bars, replace=False) * _PITCH:
        color = rng.integers(2)
        bar = slice(start, start + _BREADTH)
        end = slice(-_END, None) if rng.integers(2) else slice(_END)
        image[bar] = 0.5 + 0.5 * image[bar]
        image[bar, end] = _COLORS[color]
        crossed = label[bar] > 0
        label[bar] = np.where(crossed, len(BAR_CLASSES), first_class + color)
