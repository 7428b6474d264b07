"""Coding of boxes as distances from a point to their sides."""

import keras
from keras import ops

from kdl._typing import ArrayLike, Tensor
from kdl.detection._part import Part
from kdl.ops.boxes import as_boxes


@keras.saving.register_keras_serializable("kdl")
class LinearBoxCoder(Part):
    """Boxes as distances from the centers of anchors to their four sides, and back: FCOS.

    `t = ((ax − x1)/aw, (ay − y1)/ah, (x2 − ax)/aw, (y2 − ay)/ah)`, with the center and the sides of
    the anchor. All four are positive if the center lies in the box.

    Source: Tian et al., FCOS (arXiv 1904.01355), section 3.1, with distances in sides of the anchor
    as in torchvision.

    Example:
        >>> import numpy as np
        >>> anchors, boxes = np.array([[16.0, 16, 24, 24]]), np.array([[12.0, 16, 60, 52]])
        >>> offsets = LinearBoxCoder().encode(boxes, anchors)
        >>> [float(offset) for offset in offsets[0]]
        [1.0, 0.5, 5.0, 4.0]
        >>> [float(side) for side in LinearBoxCoder().decode(offsets, anchors)[0]]
        [12.0, 16.0, 60.0, 52.0]
    """

    def encode(self, boxes: ArrayLike, anchors: ArrayLike) -> Tensor:
        """Distances `(…, N, 4)` to boxes `(…, N, 4)` from anchors `(…, N, 4)`, which broadcast.

        Raises:
            ValueError: If the last axis is not 4.
        """
        boxes, anchors = as_boxes(boxes=boxes, anchors=anchors)
        before, after = distances_to_sides(boxes, anchors)
        sides = anchors[..., 2:] - anchors[..., :2]
        return ops.concatenate([before / sides, after / sides], -1)

    def decode(self, offsets: ArrayLike, anchors: ArrayLike) -> Tensor:
        """Boxes `(…, N, 4)` from such distances.

        Raises:
            ValueError: If the last axis is not 4.
        """
        offsets, anchors = as_boxes(offsets=offsets, anchors=anchors)
        centers, sides = _centers(anchors), anchors[..., 2:] - anchors[..., :2]
        # Offsets first, which may be symbolic where anchors are not, as JAX needs.
        before, after = offsets[..., :2] * sides, offsets[..., 2:] * sides
        return ops.concatenate([-before + centers, after + centers], -1)


def distances_to_sides(boxes: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels from the centers of anchors to the left and upper, and to the other sides of boxes.

    Args:
        boxes: `(…, 4)`.
        anchors: `(…, 4)`; the leading axes broadcast.

    Returns:
        Two tensors `(…, 2)`, negative where the center lies outside.
    """
    centers = _centers(anchors)
    return centers - boxes[..., :2], boxes[..., 2:] - centers


def _centers(anchors):
    return (anchors[..., :2] + anchors[..., 2:]) / 2
