"""Random mirroring of an image, its boxes and its masks."""

from typing import Any

import numpy as np

from kdl.data._chance import check_probability
from kdl.data._truth import flipped


class RandomHorizontalFlip:
    """Random horizontal flip of an image with its objects, for `kdl.data.DetectionDataset`.

    Args:
        probability: Share of the images that are flipped. Defaults to 0.5.

    Raises:
        ValueError: If `probability` is no share from 0 to 1.

    Example:
        >>> import numpy as np
        >>> target = {"boxes": np.array([[1.0, 0, 3, 4]], "float32"), "labels": np.array([2])}
        >>> flip = RandomHorizontalFlip(probability=1)
        >>> image, target = flip(np.zeros((4, 10, 3)), target, np.random.default_rng(0))
        >>> target["boxes"].tolist()
        [[7.0, 0.0, 9.0, 4.0]]
    """

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = check_probability(probability)

    def __call__(
        self, image: np.ndarray, target: dict[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The image and its objects, flipped or not.

        Args:
            image: `(height, width, channels)`.
            target: Dict of arrays with a row for each object, as `DetectionDataset` explains.
            rng: What it draws from.
        """
        if rng.random() >= self.probability:
            return image, target
        return image[:, ::-1], flipped(target, image.shape[1])
