"""Faint digits in noise with the class of each pixel, for segmentation."""

import numpy as np

from kdl._checks import check_integer
from kdl.data.digit_scenes import digits_of

_SIDE = 12  # pixels of a digit
_NOISE, _CONTRAST = 0.35, 0.5


def digit_masks(
    count: int, size: int = 64, digits_per_image: int = 3, split: str = "train", seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws images of noise with a few faint handwritten digits, and labels their strokes.

    Digits of 12 × 12 pixels lie anywhere, also one upon the other: their strokes are few of the
    pixels, and hard to tell from the noise.

    Args:
        count: Number of images.
        size: Height and width, at least 13. Defaults to 64.
        digits_per_image: Defaults to 3.
        split: `"train"` (default) or `"test"`: which digits of `kdl.data.digits` are drawn.
        seed: Non-negative integer.

    Returns:
        `(images, labels)`: float32 `(count, size, size, 3)` about zero, and int32 `(count, size,
        size)`: 1 for a stroke, 0 for the background.

    Raises:
        ValueError: If an argument is out of range or `split` is unknown.
        ImportError: If scikit-learn is not installed.

    Example:
        >>> images, labels = digit_masks(2)
        >>> images.shape, labels.shape, np.unique(labels).tolist()
        ((2, 64, 64, 3), (2, 64, 64), [0, 1])
    """
    count = check_integer("count", count)
    size = check_integer("size", size, least=_SIDE + 1)
    digits_per_image = check_integer("digits_per_image", digits_per_image)
    sources, _ = digits_of(split, _SIDE)
    rng = np.random.default_rng(check_integer("seed", seed, least=0))
    images = rng.normal(0, _NOISE, (count, size, size, 3)).astype("float32")
    labels = np.zeros((count, size, size), "int32")
    for image, label in zip(images, labels, strict=True):
        for which in rng.integers(len(sources), size=digits_per_image):
            shape = sources[which, ..., 0]
            top, left = rng.integers(0, size - _SIDE, 2)
            place = slice(top, top + _SIDE), slice(left, left + _SIDE)
            image[place] += _CONTRAST * shape[..., None]
            label[place] = np.where(shape > 0.5, 1, label[place])
    return images, labels
