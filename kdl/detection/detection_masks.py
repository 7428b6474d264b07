"""Masks of a detector's detections, in the image."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.ops.paste_masks import paste_masks


@keras.saving.register_keras_serializable("kdl")
class DetectionMasks(keras.layers.Layer):
    """Masks of detections, of the size of the image, from the logits of a mask head.

    Of each detection the mask of its class is taken, pasted into its box, and cut at one half.

    Shapes: a list of boxes `(batch, N, 4)`, labels `(batch, N)`, negative in padded rows, and mask
    logits `(batch, N, h, w, K)` → bool `(batch, N, height, width)`, False in padded rows.

    Args:
        image_size: Height and width of the image.
        rule: How masks are pasted, as in `kdl.ops.paste_masks`. Defaults to `"torchvision"`.
        threshold: Probability from which on a pixel is in the mask. Defaults to 0.5.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.

    Source: He et al., Mask R-CNN (arXiv 1703.06870), section 3.1.

    Example:
        >>> import numpy as np
        >>> boxes, labels = np.array([[[1.0, 1, 3, 3]]]), np.array([[0]])
        >>> masks = DetectionMasks((4, 4))([boxes, labels, np.full((1, 1, 28, 28, 1), 9.0)])
        >>> int(keras.ops.sum(masks))  # torchvision's rule takes both ends in, and a border fades
        16
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        rule: str = "torchvision",
        threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        height, width = image_size
        self.image_size = (height, width)
        self.rule, self.threshold = rule, threshold

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        """Choose, paste and cut."""
        boxes, labels, logits = inputs
        places = ops.reshape(ops.maximum(labels, 0), (*ops.shape(labels), 1, 1, 1))
        own = ops.take_along_axis(logits, ops.cast(places, "int32"), 4)[..., 0]
        exists = ops.reshape(labels >= 0, (*ops.shape(labels), 1, 1))
        # An image after the other: the soft masks of a batch fill gigabytes.
        return ops.map(self._of_image, (ops.sigmoid(own), boxes, exists))

    def _of_image(self, parts):
        masks, boxes, exists = parts
        pasted = paste_masks(masks, boxes, self.image_size, self.rule)
        return (pasted >= self.threshold) & exists

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        """The masks of symbolic detections."""
        return keras.KerasTensor((*inputs[0].shape[:2], *self.image_size), "bool")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(image_size=self.image_size, rule=self.rule, threshold=self.threshold)
        return config
