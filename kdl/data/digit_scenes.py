"""Scenes of one digit among fragments of others, for detection."""

import numpy as np

from kdl._checks import check_integer
from kdl.data.digits import digits

SIDE = 16  # pixels of a digit
_SHIFT = 2  # of a digit in its square
_NOISE = 0.2


def digit_scenes(
    count: int, size: int = 96, clutter: int = 30, split: str = "train", seed: int = 0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws scenes of one handwritten digit in noise, among fragments of other digits.

    Each scene is a grid of squares of 16 × 16 pixels. One square, chosen by chance, holds a whole
    digit, moved by up to two pixels; `clutter` others hold a quarter of a digit each.

    Args:
        count: Number of scenes.
        size: Height and width of a scene, a multiple of 16. Defaults to 96.
        clutter: Number of fragments, fewer than there are squares. Defaults to 30.
        split: `"train"` (default) or `"test"`: which digits of `kdl.data.digits` are drawn.
        seed: Non-negative integer.

    Returns:
        `(images, targets)`: float32 `(count, size, size, 1)` in [0, 1], and the dict of `"boxes"`
        float32 `(count, 1, 4)`, xyxy in pixels, and `"labels"` int64 `(count, 1)`.

    Raises:
        ValueError: If an argument is out of range or `split` is unknown.
        ImportError: If scikit-learn is not installed.

    Example:
        >>> images, targets = digit_scenes(2, size=48, clutter=4)
        >>> images.shape, targets["boxes"].shape, targets["labels"].shape
        ((2, 48, 48, 1), (2, 1, 4), (2, 1))
    """
    count = check_integer("count", count)
    across = _check_size(size)
    clutter = check_integer("clutter", clutter, least=0, most=across**2 - 1)
    sources, classes = digits_of(split, SIDE)
    rng = np.random.default_rng(check_integer("seed", seed, least=0))
    images = np.empty((count, size, size, 1), "float32")
    boxes, labels = np.empty((count, 1, 4), "float32"), np.empty((count, 1), "int64")
    for image, box, label in zip(images, boxes, labels, strict=True):
        image[:] = rng.uniform(0, _NOISE, image.shape)
        squares = rng.permutation(across**2)[: 1 + clutter]
        chosen = rng.integers(0, len(sources), len(squares))
        shift = rng.integers(-_SHIFT, _SHIFT + 1, 2)
        corners = SIDE * np.stack(np.divmod(squares, across), 1)
        for number, (top, left) in enumerate(corners):
            digit = sources[chosen[number]]
            drawn = np.roll(digit, shift, (0, 1)) if number == 0 else _fragment(digit, rng)
            area = image[top : top + SIDE, left : left + SIDE]
            np.maximum(area, drawn, out=area)
        top, left = corners[0] + shift
        box[0] = left, top, left + SIDE, top + SIDE
        label[0] = classes[chosen[0]]
    return images, {"boxes": boxes, "labels": labels}


def digits_of(split, size):
    """Gray digits `(samples, size, size, 1)` of a split, and their labels."""
    parts = dict(zip(("train", "test"), digits(size, channels=1), strict=True))
    if split not in parts:
        raise ValueError(f"split must be one of {tuple(parts)}; received {split!r}.")
    return parts[split]


def _fragment(digit, rng):
    """A quarter of a digit, put somewhere in its square."""
    half = SIDE // 2
    (row, column), (top, left) = rng.integers(0, half + 1, (2, 2))
    drawn = np.zeros_like(digit)
    drawn[top : top + half, left : left + half] = digit[row : row + half, column : column + half]
    return drawn


def _check_size(size):
    """Number of squares across a scene."""
    if check_integer("size", size, least=SIDE) % SIDE:
        raise ValueError(f"size must be a multiple of {SIDE}; received {size}.")
    return size // SIDE
