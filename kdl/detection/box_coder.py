"""Coding of boxes as offsets from anchors."""

from collections.abc import Sequence

import keras

from kdl._typing import ArrayLike, Tensor
from kdl.detection._part import Part
from kdl.ops.boxes import check_variances, decode_boxes, encode_boxes


@keras.saving.register_keras_serializable("kdl")
class BoxCoder(Part):
    """Boxes as weighted offsets from anchors, and back: what a detector's regression learns.

    `t = (w₁·(cx − ax)/aw, w₂·(cy − ay)/ah, w₃·ln(w/aw), w₄·ln(h/ah))`, with the centers and sides
    of a box and of its anchor. The weights are the reciprocals of what SSD calls variances.

    Args:
        weights: The four weights. Defaults to ones, those of RetinaNet and of region proposals; SSD
            and the box heads of R-CNN have (10, 10, 5, 5).

    Raises:
        ValueError: If the weights are not four positive numbers.

    Source: Girshick et al., R-CNN (arXiv 1311.2524), appendix C.

    Example:
        >>> import numpy as np
        >>> coder = BoxCoder(weights=(10, 10, 5, 5))
        >>> anchors, boxes = np.array([[10.0, 20, 50, 100]]), np.array([[12.0, 18, 60, 110]])
        >>> offsets = coder.encode(boxes, anchors)
        >>> [round(float(offset), 3) for offset in offsets[0]]
        [1.5, 0.5, 0.912, 0.699]
        >>> [round(float(side), 3) for side in coder.decode(offsets, anchors)[0]]
        [12.0, 18.0, 60.0, 110.0]
    """

    def __init__(self, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> None:
        check_variances(weights, "weights")
        self.weights = tuple(map(float, weights))

    def encode(self, boxes: ArrayLike, anchors: ArrayLike) -> Tensor:
        """Offsets `(…, N, 4)` of boxes `(…, N, 4)` from anchors `(…, N, 4)`, which broadcast."""
        return encode_boxes(boxes, anchors, self._variances)

    def decode(self, offsets: ArrayLike, anchors: ArrayLike) -> Tensor:
        """Boxes `(…, N, 4)` from their offsets; a side grows by at most 1000/16."""
        return decode_boxes(offsets, anchors, self._variances)

    @property
    def _variances(self):
        return [1 / weight for weight in self.weights]
