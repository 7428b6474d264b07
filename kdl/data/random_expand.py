"""Random expansion of the canvas of an image, as SSD's zooming out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdl.data._chance import check_probability, check_range
from kdl.data._fitting import extended
from kdl.data._truth import moved


class RandomExpand:
    """Random expansion of SSD ("zoom out"): the image lies anywhere in a larger, plain one.

    Both sides grow by one factor, drawn uniformly. Brought to the size of the model, objects become
    smaller by it: SSD needs such ones to learn small objects.

    Args:
        probability: Share of the images that are expanded. Defaults to 0.5.
        factors: Least and most growth of the sides. Defaults to (1, 4).
        fill: Value of what is around the image, a number or one a channel. Defaults to None: the
            mean color of the image.

    Raises:
        ValueError: If an argument is out of range.

    Source: Liu et al., SSD (arXiv 1512.02325), section 3.6.

    Example:
        >>> import numpy as np
        >>> target = {"boxes": np.array([[0.0, 0, 4, 4]], "float32"), "labels": np.array([2])}
        >>> expand = RandomExpand(probability=1, factors=(2, 2))
        >>> image, target = expand(np.ones((4, 6, 3)), target, np.random.default_rng(0))
        >>> image.shape, (target["boxes"][0, 2:] - target["boxes"][0, :2]).tolist()
        ((8, 12, 3), [4.0, 4.0])
    """

    def __init__(
        self,
        probability: float = 0.5,
        factors: tuple[float, float] = (1.0, 4.0),
        fill: float | Sequence[float] | None = None,
    ) -> None:
        self.probability = check_probability(probability)
        self.factors = check_range("factors", factors, 1)
        self.fill = fill

    def __call__(
        self, image: np.ndarray, target: dict[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The image and its objects, expanded or not.

        Args:
            image: `(height, width, channels)`.
            target: Dict of arrays with a row for each object, as `DetectionDataset` explains.
            rng: What it draws from.
        """
        if rng.random() >= self.probability:
            return image, target
        sides = np.array(image.shape[:2])
        size = (sides * rng.uniform(*self.factors)).round().astype(int)
        top, left = rng.integers(0, size - sides + 1)
        fill = image.mean((0, 1)) if self.fill is None else self.fill
        target = moved(target, offset=(left, top))
        if "masks" in target:
            room = [(top, size[0] - sides[0] - top), (left, size[1] - sides[1] - left)]
            target["masks"] = np.pad(target["masks"], [(0, 0), *room])
        return extended(image, tuple(size.tolist()), (top, left), fill), target
