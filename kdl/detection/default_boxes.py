"""Default boxes of SSD."""

from collections.abc import Sequence

import keras
import numpy as np

from kdl.detection._grids import check_levels, on_grid
from kdl.detection._part import Part


@keras.saving.register_keras_serializable("kdl")
class DefaultBoxes(Part):
    """Default boxes of SSD: a few scales and aspect ratios around the center of every cell.

    A cell of the level `k` with the scale `s` has a square of the side `s`, one of `√(s·s')` with
    the next level's scale `s'`, and for each ratio `a` boxes of `(s√a, s/√a)` and `(s/√a, s√a)`,
    width first. Boxes come level by level, then by row, column and in this order.

    Args:
        scales: Sides of the squares, as shares of the image: one a level, and one after the last.
        ratios: For each level, its aspect ratios besides 1.
        strides: For each level, pixels from one cell to the next. Defaults to None: the side of the
            image over that of the grid.
        clip: If sides are at most those of the image, as in torchvision. Defaults to False, as in
            the paper's code.

    Raises:
        ValueError: If levels of the arguments differ in number, or a number is not positive.

    Source: Liu et al., SSD (arXiv 1512.02325), section 2.2.

    Example:
        >>> boxes = DefaultBoxes(scales=(0.5, 1.0), ratios=[()])(image_size=(8, 8), grids=[(1, 1)])
        >>> [round(float(side), 2) for side in boxes[1]]
        [1.17, 1.17, 6.83, 6.83]
    """

    def __init__(
        self,
        scales: Sequence[float],
        ratios: Sequence[Sequence[float]],
        strides: Sequence[float] | None = None,
        clip: bool = False,
    ) -> None:
        self.scales = tuple(map(float, scales))
        self.ratios = [tuple(map(float, level)) for level in ratios]
        self.strides = None if strides is None else tuple(strides)
        self.clip = clip
        levels = len(self.scales) - 1
        if levels < 1 or {len(self.ratios), len(self.strides or self.ratios)} != {levels}:
            raise ValueError(
                f"Expected a scale more than ratios, and as many strides as ratios; received "
                f"{scales!r}, {ratios!r} and {strides!r}."
            )
        numbers = [*self.scales, *(self.strides or []), *sum(self.ratios, ())]
        if not min(numbers) > 0:
            raise ValueError(
                f"scales, ratios and strides must be positive; received {scales!r}, {ratios!r} and "
                f"{strides!r}."
            )

    @property
    def per_cell(self) -> list[int]:
        """Number of boxes in a cell of each level."""
        return [2 + 2 * len(level) for level in self.ratios]

    def __call__(self, image_size: tuple[int, int], grids: Sequence[tuple[int, int]]) -> np.ndarray:
        """Default boxes of all levels.

        Args:
            image_size: Height and width of the network's input.
            grids: Height and width of each level's features.

        Returns:
            float32 array `(N, 4)` of `(x1, y1, x2, y2)` in pixels.
        """
        image_size, grids = check_levels(image_size, grids, len(self.ratios))
        strides = self.strides or [None] * len(grids)
        boxes = []
        for level, (grid, stride) in enumerate(zip(grids, strides, strict=True)):
            steps = (stride, stride) if stride else tuple(np.divide(image_size, grid))
            boxes.append(on_grid(self._shapes(level, image_size), grid, steps, first=0.5))
        return np.concatenate(boxes)

    placed = __call__  # cells are exact shares of the image

    def _shapes(self, level, image_size):
        """The boxes of a cell of a level, around 0."""
        scale, following = self.scales[level : level + 2]
        sides = [(scale, scale), (np.sqrt(scale * following),) * 2]
        for root in np.sqrt(self.ratios[level]):
            sides += [(scale * root, scale / root), (scale / root, scale * root)]
        sides = np.minimum(sides, 1.0) if self.clip else np.array(sides)
        halves = sides * image_size[::-1] / 2
        return np.concatenate([-halves, halves], -1)
