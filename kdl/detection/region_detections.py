"""Detections of a detector that classifies proposals."""

from typing import Any

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.detection._part import as_config, as_part
from kdl.detection.box_coder import BoxCoder
from kdl.detection.detection_selector import DetectionSelector
from kdl.ops.boxes import clip_boxes

_SMALLEST_SIDE = 0.01


@keras.saving.register_keras_serializable("kdl")
class RegionDetections(keras.layers.Layer):
    """Detections of classified proposals, as the last layer of Faster R-CNN.

    Offsets of each class become boxes, logits become probabilities by softmax, and a
    `DetectionSelector` chooses; boxes with a side below 0.01 pixels are dropped.

    Shapes: a dict of `"proposals"` `(batch, R, 4)`, `"proposal_scores"` `(batch, R)`, negative
    where there is no proposal, `"box_offsets"` `(batch, R, K, 4)` and `"class_logits"` `(batch, R,
    1 + K)`, background first → the dict of `DetectionSelector`.

    Args:
        coder: The `BoxCoder`, or its serialized form.
        selector: The `DetectionSelector`, likewise.
        image_size: Height and width of the network's input.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.

    Raises:
        ValueError: If the selector takes candidates of levels.

    Example:
        >>> import numpy as np
        >>> selector = DetectionSelector(candidates_of="class", max_detections=2)
        >>> layer = RegionDetections(BoxCoder((10, 10, 5, 5)), selector, (16, 16))
        >>> found = layer({
        ...     "proposals": np.array([[[4.0, 4, 12, 12]]]), "proposal_scores": np.ones((1, 1)),
        ...     "box_offsets": np.zeros((1, 1, 2, 4)), "class_logits": np.array([[[0.0, 9, 0]]]),
        ... })
        >>> found["labels"].tolist(), found["boxes"][0, 0].tolist()
        ([[0, -1]], [4.0, 4.0, 12.0, 12.0])
    """

    def __init__(
        self,
        coder: BoxCoder | dict,
        selector: DetectionSelector | dict,
        image_size: tuple[int, int],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.coder, self.selector = as_part(coder), as_part(selector)
        height, width = image_size
        self.image_size = (height, width)
        if self.selector.candidates_of != "class":
            raise ValueError(
                "Each class has boxes of its own here: pass "
                "DetectionSelector(candidates_of='class', …); received candidates_of="
                f"{self.selector.candidates_of!r}."
            )

    def call(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Decode and select."""
        proposals = ops.expand_dims(ops.cast(inputs["proposals"], "float32"), 2)
        boxes = self.coder.decode(ops.cast(inputs["box_offsets"], "float32"), proposals)
        boxes = clip_boxes(boxes, self.image_size)
        scores = ops.softmax(ops.cast(inputs["class_logits"], "float32"))[..., 1:]
        exists = ops.expand_dims(inputs["proposal_scores"] >= 0, -1)
        exists = exists & ops.all(boxes[..., 2:] - boxes[..., :2] >= _SMALLEST_SIDE, -1)
        return self.selector(ops.where(exists, scores, 0.0), boxes, self.image_size)

    def compute_output_spec(self, inputs: dict[str, Tensor]) -> dict[str, keras.KerasTensor]:
        """The detections of symbolic outputs."""
        return self.selector.output_spec(inputs["class_logits"].shape[0])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            coder=as_config(self.coder),
            selector=as_config(self.selector),
            image_size=self.image_size,
        )
        return config
