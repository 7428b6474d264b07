"""Assignment of points to ground truth in FCOS."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from kdl._typing import ArrayLike, Tensor
from kdl.detection._part import Part
from kdl.detection.linear_box_coder import distances_to_sides
from kdl.detection.matcher import Matches
from kdl.ops.boxes import as_boxes, box_area, box_iou

_SAME = 1.01  # ratio of sides below which anchors are of one level, whatever rounding did


@keras.saving.register_keras_serializable("kdl")
class FCOSMatcher(Part):
    """Matcher of FCOS: a point finds the smallest truth that it lies in and whose size is its own.

    Points are the centers of anchors, whose side `s` is the stride of their level. With the
    distances `l, t, r, b` from a point to the sides of a truth, the point finds it if

    - it lies inside, `min(l, t, r, b) > 0`,
    - and near the center, at most `radius · s` from it, across and down (center sampling),
    - and its level is the one for such sizes: `4s < max(l, t, r, b) < 8s`, without the lower limit
      on the finest level and without the upper one on the coarsest.

    Of several truths the one with the smallest area counts. All other points are background.

    Args:
        radius: As above; None for all of the box, as in the paper's first version. Defaults to 1.5.
        extents: The two limits in sides of the anchor. Defaults to (4, 8).

    Raises:
        ValueError: If `radius` or the limits are not positive and rising.

    Source: Tian et al., FCOS (arXiv 1904.01355), sections 3.1 and 3.2; center sampling is that of
    the authors' later code and of torchvision.

    Example:
        >>> import numpy as np
        >>> anchors = np.array([[8.0 * x, 8, 8 * x + 8, 16] for x in range(6)])
        >>> boxes = np.array([[[0.0, 0, 40, 24], [18, 6, 30, 18]]])
        >>> matches = FCOSMatcher()(anchors, boxes)
        >>> [bool(positive) for positive in matches.positive[0]]
        [False, True, True, True, False, False]
        >>> [int(matches.indices[0, number]) for number in (1, 2, 3)]
        [0, 1, 1]
    """

    def __init__(self, radius: float | None = 1.5, extents: Sequence[float] = (4.0, 8.0)) -> None:
        self.radius = radius
        self.extents = tuple(map(float, extents))
        if radius is not None and not radius > 0:
            raise ValueError(f"radius must be positive, or None; received {radius!r}.")
        if len(self.extents) != 2 or not 0 < self.extents[0] < self.extents[1]:
            raise ValueError(f"extents must be two rising positive numbers; received {extents!r}.")

    def __call__(
        self, anchors: ArrayLike, boxes: ArrayLike, exists: ArrayLike | None = None
    ) -> Matches:
        """Match points to the ground truth of each image.

        Args:
            anchors: Squares around the points, `(anchors, 4)` or `(batch, anchors, 4)`.
            boxes: Ground truth `(batch, G, 4)`.
            exists: Bool `(batch, G)`, False where a row is padding. Defaults to all.

        Raises:
            ValueError: If boxes have other shapes.
        """
        anchors, boxes = as_boxes(anchors=anchors, boxes=boxes)
        if len(boxes.shape) != 3:
            raise ValueError(
                f"Expected ground truth (batch, G, 4); received shape {tuple(boxes.shape)}."
            )
        if exists is not None:
            boxes = ops.where(ops.expand_dims(ops.cast(exists, "bool"), -1), boxes, 0.0)
        # An empty box, in which no point lies, so that there is one.
        boxes = ops.pad(boxes, ((0, 0), (0, 1), (0, 0)))
        own = self._own(anchors, boxes)
        areas = ops.where(own, ops.expand_dims(box_area(boxes), -1), math.inf)
        positive = ops.any(own, 1)
        return Matches(
            ops.cast(ops.argmin(areas, 1), "int32"),
            positive,
            ops.ones_like(positive),
            ops.max(box_iou(boxes, anchors), 1),
        )

    def _own(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        """Bool `(batch, G, anchors)`: whether a point may find a truth."""
        # Axes of images, truths and points.
        anchors = anchors if len(anchors.shape) == 3 else ops.expand_dims(anchors, 0)
        anchors, boxes = ops.expand_dims(anchors, 1), ops.expand_dims(boxes, 2)
        sides = anchors[..., 2] - anchors[..., 0]
        distances = ops.concatenate(distances_to_sides(boxes, anchors), -1)
        lower, upper = (limit * sides for limit in self.extents)
        lower = ops.where(sides < _SAME * ops.min(sides), 0.0, lower)
        upper = ops.where(sides * _SAME > ops.max(sides), math.inf, upper)
        far = ops.max(distances, -1)
        own = (ops.min(distances, -1) > 0) & (far > lower) & (far < upper)
        if self.radius is None:
            return own
        before, after = distances[..., :2], distances[..., 2:]
        return own & (ops.max(ops.abs(before - after), -1) / 2 < self.radius * sides)
