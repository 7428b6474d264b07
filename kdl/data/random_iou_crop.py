"""Random crop of an image that keeps an overlap with one of its objects, as SSD's."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdl._checks import check_integer
from kdl.data._chance import check_range
from kdl.data._truth import areas, clipped, cropped, select

_LEAST_IOUS = (None, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


class RandomIoUCrop:
    """Random crop of SSD: a part of the image that overlaps one of its objects enough.

    For each image one of `least_ious` is drawn, then crops until one has that intersection over
    union with an object at least: its area is `s²` of the image's with a scale `s` drawn uniformly,
    its ratio of width to height one that both fit. Objects stay whose centers lie within the crop,
    cut at its borders. An image without objects, or of which no crop fits, stays as it is.

    Args:
        least_ious: Least overlaps of which one is drawn; None among them for the whole image.
            Defaults to `(None, 0, 0.1, 0.3, 0.5, 0.7, 0.9)`.
        scales: Least and most scale. Defaults to (0.3, 1), as in the code of SSD; the paper tells
            sizes from 0.1.
        ratios: Least and most ratio of width to height, in units of the image's. Defaults to
            (0.5, 2).
        attempts: Crops that are tried. Defaults to 50.

    Raises:
        ValueError: If an argument is out of range.

    Source: Liu et al., SSD (arXiv 1512.02325), section 2.2, "Data augmentation".

    Example:
        >>> import numpy as np
        >>> target = {"boxes": np.array([[2.0, 2, 8, 8]], "float32"), "labels": np.array([1])}
        >>> crop = RandomIoUCrop(least_ious=(0.5,))
        >>> image, target = crop(np.zeros((10, 10, 3)), target, np.random.default_rng(0))
        >>> image.shape[0] < 10, target["labels"].tolist()
        (True, [1])
    """

    def __init__(
        self,
        least_ious: Sequence[float | None] = _LEAST_IOUS,
        scales: tuple[float, float] = (0.3, 1.0),
        ratios: tuple[float, float] = (0.5, 2.0),
        attempts: int = 50,
    ) -> None:
        self.least_ious = tuple(least_ious)
        if not self.least_ious or any(not 0 <= (iou or 0) <= 1 for iou in self.least_ious):
            raise ValueError(
                f"least_ious must be shares from 0 to 1, or None; received {least_ious!r}."
            )
        self.scales = check_range("scales", scales, 0.01, 1)
        self.ratios = check_range("ratios", ratios, 0.01)
        self.attempts = check_integer("attempts", attempts)

    def __call__(
        self, image: np.ndarray, target: dict[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A crop of the image and its objects, or both as they are.

        Args:
            image: `(height, width, channels)`.
            target: Dict of arrays with a row for each object, as `DetectionDataset` explains.
            rng: What it draws from.
        """
        least = self.least_ious[rng.integers(len(self.least_ious))]
        if least is None or not len(target["boxes"]):
            return image, target
        for _ in range(self.attempts):
            left, top, width, height = self._draw(image.shape, rng)
            inside = _centers_within(target["boxes"], left, top, width, height)
            overlap = _iou(target["boxes"], [left, top, left + width, top + height])
            if not inside.any() or overlap.max() < least:
                continue
            part = cropped(select(target, inside), left, top, width, height)
            if len(part["boxes"]):
                return image[top : top + height, left : left + width], part
        return image, target

    def _draw(self, shape, rng):
        """Left, top, width and height of a crop, whole pixels."""
        scale = rng.uniform(*self.scales)
        low, high = max(self.ratios[0], scale**2), min(self.ratios[1], scale**-2)
        root = np.sqrt(rng.uniform(min(low, high), high))
        sides = np.array(shape[:2])
        height, width = np.clip((sides * [scale / root, scale * root]).round(), 1, sides).astype(
            int
        )
        top, left = rng.integers(0, sides - [height, width] + 1)
        return int(left), int(top), int(width), int(height)


def _centers_within(boxes, left, top, width, height):
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([left, top])
    return ((centers > 0) & (centers < np.array([width, height]))).all(-1)


def _iou(boxes, crop):
    """Intersection over union of boxes with one that is a crop."""
    left, top, right, bottom = crop
    moved = boxes - np.array([left, top, left, top])
    shared = areas(clipped(moved, bottom - top, right - left))
    return shared / (areas(boxes) + (right - left) * (bottom - top) - shared)
