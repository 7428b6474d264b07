"""Assignment of anchors to ground truth."""

from typing import NamedTuple

import keras
from keras import ops

from kdl._checks import check_choice
from kdl._typing import ArrayLike, Tensor
from kdl.detection._part import Part
from kdl.ops.boxes import box_iou

FORCES = (None, "ties", "overwrite", "argmax", "bipartite")
_LEAST_IOU = 1e-6


class Matches(NamedTuple):
    """What `Matcher` tells of each anchor, tensors `(batch, anchors)`.

    Attributes:
        indices: int32, the place of its truth; where it is not positive, of the nearest one.
        positive: bool, whether it is to find that truth.
        valid: bool, whether it is positive or background; False between the thresholds.
        iou: float32, the overlap with the nearest truth, 0 where there is none.
    """

    indices: Tensor
    positive: Tensor
    valid: Tensor
    iou: Tensor


@keras.saving.register_keras_serializable("kdl")
class Matcher(Part):
    """Matcher of anchors and ground-truth boxes by intersection over union.

    An anchor whose best IoU is `positive_threshold` or more finds that truth, one below
    `negative_threshold` is background, and others are left out. A truth that no anchor overlaps so
    much would be found by none; `force` gives it its best anchors (low-quality matches):

    - `"ties"`: all anchors that overlap it the most are positive, each for its own best truth
      (RetinaNet and RPN, in torchvision and Detectron2).
    - `"overwrite"`: the same anchors are positive for this truth; of two, the later (mmdetection).
    - `"argmax"`: the first of them is positive for this truth; of two, the later (torchvision's
      SSD).
    - `"bipartite"`: pairs of an anchor and a truth are made by falling IoU until each truth has one
      of its own (the code of SSD).
    - None: it is not found (the box heads of R-CNN).

    An anchor without any overlap is never forced: a truth that lies outside of all anchors would
    make every anchor positive.

    Args:
        positive_threshold: IoU of positive anchors. Defaults to 0.5.
        negative_threshold: IoU below which anchors are background. Defaults to None, the same.
        force: As above. Defaults to None.
        least_iou: IoU that a forced anchor must have. Defaults to 0, any overlap.

    Raises:
        ValueError: If thresholds are not in 0 … 1 or in the wrong order, or `force` is none of
            these.

    Source: Ren et al., Faster R-CNN (arXiv 1506.01497), section 3.1.2; Liu et al., SSD (arXiv
    1512.02325), section 2.2.

    Example:
        >>> import numpy as np
        >>> anchors = np.array([[0.0, 0, 4, 4], [3, 0, 7, 4], [9, 9, 13, 13], [20, 20, 24, 24]])
        >>> boxes = np.array([[[0.0, 0, 4, 4], [10, 10, 11, 11]]])
        >>> matches = Matcher(force="bipartite")(anchors, boxes)
        >>> [bool(positive) for positive in matches.positive[0]]
        [True, False, True, False]
        >>> int(matches.indices[0, 2])
        1
    """

    def __init__(
        self,
        positive_threshold: float = 0.5,
        negative_threshold: float | None = None,
        force: str | None = None,
        least_iou: float = 0.0,
    ) -> None:
        self.positive_threshold = positive_threshold
        self.negative_threshold = negative_threshold
        self.force = check_choice("force", force, FORCES)
        self.least_iou = least_iou
        if not 0 <= least_iou <= 1 or not 0 <= self._background <= positive_threshold <= 1:
            raise ValueError(
                f"Expected 0 ≤ negative_threshold ≤ positive_threshold ≤ 1 and least_iou from 0 to "
                f"1; received {negative_threshold!r}, {positive_threshold!r} and {least_iou!r}."
            )

    def __call__(
        self, anchors: ArrayLike, boxes: ArrayLike, exists: ArrayLike | None = None
    ) -> Matches:
        """Match anchors to the ground truth of each image.

        Args:
            anchors: Boxes `(anchors, 4)`, or `(batch, anchors, 4)`.
            boxes: Ground truth `(batch, G, 4)`.
            exists: Bool `(batch, G)`, False where a row is padding. Defaults to all.

        Raises:
            ValueError: If boxes have other shapes, or their number is not known.
        """
        anchors, boxes = ops.convert_to_tensor(anchors), ops.convert_to_tensor(boxes)
        if len(boxes.shape) != 3 or None in (boxes.shape[1], anchors.shape[-2]):
            raise ValueError(
                f"Expected ground truth (batch, G, 4), and known numbers of boxes and anchors; "
                f"received shapes {tuple(boxes.shape)} and {tuple(anchors.shape)}. Pad the truth."
            )
        iou = ops.cast(ops.stop_gradient(box_iou(boxes, anchors)), "float32")
        if exists is not None:
            iou = ops.where(ops.expand_dims(ops.cast(exists, "bool"), -1), iou, -1.0)
        # A truth that overlaps nothing, so that there is one.
        iou = ops.pad(iou, ((0, 0), (0, 1), (0, 0)), constant_values=-1.0)
        return self._match(iou)

    @property
    def _background(self):
        if self.negative_threshold is None:
            return self.positive_threshold
        return self.negative_threshold

    def _match(self, iou):
        best = ops.max(iou, 1)
        indices = ops.cast(ops.argmax(iou, 1), "int32")
        positive = best >= self.positive_threshold
        valid = positive | (best < self._background)
        if self.force is not None:
            forced = self._forced(iou)
            is_forced = ops.any(forced, 1)
            positive, valid = positive | is_forced, valid | is_forced
            if self.force != "ties":
                indices = ops.where(is_forced, _last(forced), indices)
        return Matches(indices, positive, valid, ops.maximum(best, 0.0))

    def _forced(self, iou):
        """Bool `(batch, G, anchors)`: whether an anchor is a truth's own in any case."""
        if self.force == "bipartite":
            return _pairs(iou, self.least_iou)
        highest = ops.max(iou, 2, keepdims=True)
        enough = (highest > 0) & (highest >= self.least_iou)
        if self.force == "argmax":
            places = ops.arange(iou.shape[2], dtype="int32")
            first = ops.cast(ops.argmax(iou, 2, keepdims=True), "int32")
            return (places == first) & enough
        return (iou == highest) & enough


def _last(forced):
    """Place of the last truth that has an anchor for its own."""
    places = ops.reshape(ops.arange(forced.shape[1], dtype="int32"), (-1, 1))
    return ops.max(ops.where(forced, places, -1), 1)


def _pairs(iou, least):
    """Pairs of a truth and an anchor, by falling IoU, none of them in two."""
    truths, anchors = iou.shape[1:]

    def is_left(number, free, taken):
        return ops.any((free >= least) & (free > _LEAST_IOU))

    def take(number, free, taken):
        flat = ops.reshape(free, (-1, truths * anchors))
        best = ops.expand_dims(ops.argmax(flat, 1), -1)
        is_best = ops.cast(best, "int32") == ops.arange(truths * anchors, dtype="int32")
        pair = is_best & (flat >= least) & (flat > _LEAST_IOU)
        pair = ops.reshape(pair, (-1, truths, anchors))
        used = ops.any(pair, 2, keepdims=True) | ops.any(pair, 1, keepdims=True)
        return number + 1, ops.where(used, -1.0, free), taken | pair

    state = (ops.zeros((), "int32"), iou, ops.zeros_like(iou, dtype="bool"))
    return ops.while_loop(is_left, take, state, maximum_iterations=truths)[2]
