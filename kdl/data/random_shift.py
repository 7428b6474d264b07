"""The augmentation of the quickstart: images moved by a few pixels."""

import numpy as np

from kdl._checks import check_integer


class RandomShift:
    """Moves each image by up to `pixels` in each direction; what enters is black (zero).

    Offsets are whole pixels, drawn alike from `−pixels … pixels` for rows and columns.

    Args:
        pixels: Largest shift, a positive integer.

    Raises:
        ValueError: If `pixels` is not a positive integer.

    Example:
        >>> import numpy as np
        >>> images = np.ones((2, 8, 8, 1), "float32")
        >>> RandomShift(2)(images, np.random.default_rng(0)).shape
        (2, 8, 8, 1)
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = check_integer("pixels", pixels)

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shifted copies of `images` `(N, height, width, channels)`, drawn from `rng`."""
        p = self.pixels
        _, height, width, _ = images.shape
        padded = np.pad(images, ((0, 0), (p, p), (p, p), (0, 0)))
        offsets = rng.integers(0, 2 * p + 1, (len(images), 2))
        moved = [
            image[top : top + height, left : left + width]
            for image, (top, left) in zip(padded, offsets, strict=True)
        ]
        return np.stack(moved)
