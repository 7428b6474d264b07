"""Anchors of RetinaNet and of region proposal networks."""

from collections.abc import Sequence

import keras
import numpy as np

from kdl.detection._grids import check_levels, exact_strides, on_grid, strides_of
from kdl.detection._part import Part


@keras.saving.register_keras_serializable("kdl")
class AnchorGenerator(Part):
    """Anchor boxes of a feature pyramid: sizes × aspect ratios around the corner of every cell.

    An anchor of size `s` and ratio `r = height / width` has the height `s·√r` and the width `s/√r`.
    Anchors come level by level, then by row, column, ratio and size.

    Args:
        sizes: For each level, its sizes in pixels of the input.
        ratios: Aspect ratios, height over width, of every level. Defaults to (0.5, 1, 2).
        strides: For each level, pixels from one anchor to the next. Defaults to None: the side of
            the image over that of the grid, rounded down, with which torchvision's published
            detectors were trained.
        rounded: If half the sides are rounded to whole pixels, half to even, as torchvision does
            and Detectron2 does not. Defaults to True.

    Raises:
        ValueError: If there are no sizes or ratios, or one is not positive.

    Source: Ren et al., Faster R-CNN (arXiv 1506.01497), section 3.1.1.

    Example:
        >>> generator = AnchorGenerator(sizes=[(32,)], ratios=(1.0,))
        >>> generator(image_size=(16, 32), grids=[(1, 2)]).tolist()
        [[-16.0, -16.0, 16.0, 16.0], [0.0, -16.0, 32.0, 16.0]]
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]],
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        strides: Sequence[float] | None = None,
        rounded: bool = True,
    ) -> None:
        self.sizes = [tuple(map(float, level)) for level in sizes]
        self.ratios = tuple(map(float, ratios))
        self.strides = None if strides is None else tuple(strides)
        self.rounded = rounded
        lists = [*self.sizes, self.ratios, *([] if strides is None else [self.strides])]
        if not self.sizes or not all(numbers and min(numbers) > 0 for numbers in lists):
            raise ValueError(
                f"sizes, ratios and strides must be positive, and some of each; received "
                f"{sizes!r}, {ratios!r} and {strides!r}."
            )
        if self.strides is not None and len(self.strides) != len(self.sizes):
            raise ValueError(
                f"Expected {len(self.sizes)} strides, one a level; received {strides!r}."
            )

    @property
    def per_cell(self) -> list[int]:
        """Number of anchors in a cell of each level."""
        return [len(level) * len(self.ratios) for level in self.sizes]

    def __call__(self, image_size: tuple[int, int], grids: Sequence[tuple[int, int]]) -> np.ndarray:
        """Anchors of all levels.

        Args:
            image_size: Height and width of the network's input.
            grids: Height and width of each level's features.

        Returns:
            float32 array `(N, 4)` of `(x1, y1, x2, y2)` in pixels.
        """
        image_size, grids = check_levels(image_size, grids, len(self.sizes))
        strides = self.strides or [None] * len(grids)
        levels = zip(grids, strides, map(self._shapes, self.sizes), strict=True)
        return np.concatenate(
            [
                on_grid(shapes, grid, strides_of(image_size, grid, stride), first=0)
                for grid, stride, shapes in levels
            ]
        )

    def placed(self, image_size: tuple[int, int], grids: Sequence[tuple[int, int]]) -> np.ndarray:
        """Anchors of all levels, of images that a network takes as they are.

        As a call, but without strides of its own, and with sides that are no multiples of 32, the
        strides are the powers of 2 that give the grids.
        """
        strides = exact_strides(image_size, [tuple(grid) for grid in grids])
        if self.strides is not None or strides is None:
            return self(image_size, grids)
        return type(self)(self.sizes, self.ratios, strides, self.rounded)(image_size, grids)

    def _shapes(self, sizes):
        """The anchors of a cell, around 0."""
        # In float32, as the references round what they compute in it.
        sizes, root = np.float32(sizes), np.sqrt(np.float32(self.ratios))
        heights = (root[:, None] * sizes).reshape(-1)
        widths = ((1 / root)[:, None] * sizes).reshape(-1)
        shapes = np.stack([-widths, -heights, widths, heights], -1) / 2
        return np.round(shapes) if self.rounded else shapes
