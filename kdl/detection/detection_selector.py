"""The final detections of an image, of many scored boxes."""

from collections.abc import Sequence

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import ArrayLike, Tensor
from kdl.detection._part import Part
from kdl.ops.boxes import clip_boxes
from kdl.ops.nms import batched_nms, check_iou_threshold, nms

CANDIDATES_OF = ("level", "class")


@keras.saving.register_keras_serializable("kdl")
class DetectionSelector(Part):
    """Post-processing of a detector: thresholds, non-maximum suppression, a fixed number of boxes.

    Boxes are cut off at the image's borders. Of the scores above `score_threshold` the highest
    `candidates` are kept, of each level of the pyramid (RetinaNet: a box may be several classes) or
    of each class (SSD, R-CNN). Of those of one class that overlap by more than `iou_threshold`, the
    one with the highest score stays; the best `max_detections` of all classes are the result. All
    shapes are static.

    Args:
        score_threshold: Scores above this are detections. Defaults to 0.05.
        iou_threshold: Overlap of boxes of one class that are taken for one object. Defaults to 0.5.
        candidates: Boxes that go into the suppression. Defaults to 1000.
        candidates_of: `"level"` (default) or `"class"`, as above.
        max_detections: Detections of an image at most. Defaults to 100.

    Raises:
        ValueError: If a number is out of range, or `candidates_of` is neither.

    Source: Lin et al., RetinaNet (arXiv 1708.02002), section 4.1; Liu et al., SSD (arXiv
    1512.02325), section 3.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[[0.9, 0.0], [0.8, 0.3], [0.0, 0.6]]])
        >>> boxes = np.array([[[0.0, 0, 4, 4], [0, 0, 4, 5], [6, 6, 9, 8]]])
        >>> found = DetectionSelector(max_detections=4)(scores, boxes, size=(8, 8))
        >>> found["labels"].tolist(), found["num_detections"].tolist()
        ([[0, 1, 1, -1]], [3])
        >>> found["boxes"][0, 1].tolist()
        [6.0, 6.0, 8.0, 8.0]
    """

    def __init__(
        self,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        candidates: int = 1000,
        candidates_of: str = "level",
        max_detections: int = 100,
    ) -> None:
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.candidates = check_integer("candidates", candidates)
        self.candidates_of = check_choice("candidates_of", candidates_of, CANDIDATES_OF)
        self.max_detections = check_integer("max_detections", max_detections)
        check_iou_threshold(iou_threshold)
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"score_threshold must be from 0 to 1; received {score_threshold!r}.")

    def __call__(
        self,
        scores: ArrayLike,
        boxes: ArrayLike,
        size: tuple[int, int],
        levels: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Select the detections of each image.

        Args:
            scores: Scores of classes `(batch, N, K)`, from 0 to 1, without background.
            boxes: `(batch, N, 4)`, or, with `candidates_of="class"`, `(batch, N, K, 4)`.
            size: Height and width of the image.
            levels: Number of boxes of each level, in their order. Defaults to one level of all.

        Returns:
            Dict of `"boxes"` float32 `(batch, max_detections, 4)`, `"labels"` int32 `(batch,
            max_detections)`, `"scores"` float32, by falling score, and `"num_detections"` int32
            `(batch,)`. What is beyond that number is −1.
        """
        scores, boxes = ops.cast(scores, "float32"), clip_boxes(ops.cast(boxes, "float32"), size)
        by = self._by_class if self.candidates_of == "class" else self._by_level
        boxes, scores, labels = by(scores, boxes, levels or [scores.shape[1]])
        exists = scores > self.score_threshold
        return {
            "boxes": ops.where(ops.expand_dims(exists, -1), boxes, -1.0),
            "labels": ops.where(exists, labels, -1),
            "scores": ops.where(exists, scores, -1.0),
            "num_detections": ops.sum(ops.cast(exists, "int32"), -1),
        }

    def output_spec(self, batch: int | None) -> dict[str, keras.KerasTensor]:
        """The result for symbolic scores, without computing it.

        Args:
            batch: Number of images, or None.
        """
        rows = (batch, self.max_detections)
        return {
            "boxes": keras.KerasTensor((*rows, 4), "float32"),
            "labels": keras.KerasTensor(rows, "int32"),
            "scores": keras.KerasTensor(rows, "float32"),
            "num_detections": keras.KerasTensor((batch,), "int32"),
        }

    def _by_level(self, scores, boxes, levels):
        classes, first, parts = scores.shape[-1], 0, []
        for count in levels:
            flat = ops.reshape(scores[:, first : first + count], (-1, count * classes))
            values, places = ops.top_k(flat, min(self.candidates, count * classes))
            places = ops.cast(places, "int32")
            parts.append((values, places // classes + first, places % classes))
            first += count
        scores, places, labels = (ops.concatenate(part, 1) for part in zip(*parts, strict=True))
        boxes = _rows(boxes, places)
        chosen = batched_nms(
            boxes, scores, labels, self.iou_threshold, self.score_threshold, self.max_detections
        )
        return _taken(chosen, boxes, scores, labels)

    def _by_class(self, scores, boxes, levels):
        count, classes = scores.shape[1:]
        kept = min(self.candidates, count)
        scores, places = ops.top_k(ops.transpose(scores, (0, 2, 1)), kept)
        boxes = _boxes_of_classes(boxes, ops.cast(places, "int32"))
        chosen = nms(boxes, scores, self.iou_threshold, self.score_threshold, self.max_detections)
        exists, chosen = chosen >= 0, ops.maximum(chosen, 0)
        scores = ops.where(exists, ops.take_along_axis(scores, chosen, 2), -1.0)
        boxes = ops.take_along_axis(boxes, ops.expand_dims(chosen, -1), 2)
        # Of all classes the best, equal ones in the order of the classes.
        total = classes * self.max_detections
        scores, best = ops.top_k(ops.reshape(scores, (-1, total)), self.max_detections)
        best = ops.cast(best, "int32")
        return _rows(ops.reshape(boxes, (-1, total, 4)), best), scores, best // self.max_detections


def _taken(places, boxes, scores, labels):
    """The chosen rows; where none was chosen, a score of −1."""
    exists, places = places >= 0, ops.maximum(places, 0)
    scores = ops.where(exists, ops.take_along_axis(scores, places, 1), -1.0)
    return _rows(boxes, places), scores, ops.take_along_axis(labels, places, 1)


def _rows(boxes, places):
    return ops.take_along_axis(boxes, ops.expand_dims(places, -1), 1)


def _boxes_of_classes(boxes, places):
    """Boxes `(batch, K, n, 4)` at places `(batch, K, n)`, of all classes together or each."""
    if len(boxes.shape) == 4:
        boxes = ops.transpose(boxes, (0, 2, 1, 3))
        return ops.take_along_axis(boxes, ops.expand_dims(places, -1), 2)
    classes, count = places.shape[1:]
    rows = _rows(boxes, ops.reshape(places, (-1, classes * count)))
    return ops.reshape(rows, (-1, classes, count, 4))
