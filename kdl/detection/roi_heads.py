"""Heads of R-CNN on proposals: boxes, and masks if there is a mask head."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._typing import Shape, Tensor
from kdl.detection._levels_block import LevelsBlock
from kdl.detection._part import as_config, as_part
from kdl.detection.box_head import BoxHead
from kdl.detection.mask_head import MaskHead


@keras.saving.register_keras_serializable("kdl")
class ROIHeads(LevelsBlock):
    """Second stage of Faster R-CNN and Mask R-CNN: the heads that read regions of the features.

    Called on features and proposals it gives what the box head says of these. While training it
    gives zeros: then a detector calls `box_head` and `mask_head` itself, on the proposals that it
    has sampled.

    Shapes: a list of features `(batch, height, width, C)`, finest first, and proposals `(batch, R,
    4)`, xyxy in pixels of the network's input → a dict of `"box_offsets"` `(batch, R, K, 4)` and
    `"class_logits"` `(batch, R, 1 + K)`, float32.

    Args:
        box_head: A `BoxHead`, or its serialized form.
        mask_head: A `MaskHead`, or its serialized form. Defaults to None: no masks.
        **kwargs: `data_format`, `name`, `dtype` and `trainable`, as in every block of kdl.

    Raises:
        ValueError: If the heads are of another number of classes or levels.

    Source: Ren et al., Faster R-CNN (arXiv 1506.01497); He et al., Mask R-CNN (arXiv 1703.06870).

    Example:
        >>> import numpy as np
        >>> common = {"strides": (4,), "data_format": "channels_last"}
        >>> heads = ROIHeads(BoxHead(3, units=(8,), **common), MaskHead(3, filters=8, **common))
        >>> features, proposals = [np.ones((1, 8, 8, 4), "float32")], np.zeros((1, 5, 4), "float32")
        >>> {key: tuple(x.shape) for key, x in heads(features, proposals).items()}
        {'box_offsets': (1, 5, 3, 4), 'class_logits': (1, 5, 4)}
        >>> tuple(heads.mask_head(features, proposals).shape)
        (1, 5, 28, 28, 3)
    """

    def __init__(
        self,
        box_head: BoxHead | dict,
        mask_head: MaskHead | dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.box_head, self.mask_head = as_part(box_head), as_part(mask_head)
        self.autocast = False  # boxes keep their precision; the heads cast features
        if self.mask_head is not None:
            ours, theirs = (
                (head.classes, head.strides) for head in (self.box_head, self.mask_head)
            )
            if ours != theirs:
                raise ValueError(
                    f"Both heads must be of the same classes and strides; received {ours} and "
                    f"{theirs}."
                )

    def build(self, features_shape: Sequence[Shape], boxes_shape: Shape) -> None:
        """Build the heads."""
        for head in filter(None, (self.box_head, self.mask_head)):
            if not head.built:  # one from a config is
                head.build(features_shape, boxes_shape)

    def call(
        self,
        features: Sequence[Tensor],
        boxes: Tensor,
        masks: bool = False,
        training: bool | None = None,
    ) -> dict[str, Tensor] | Tensor:
        """What the box head says of proposals, zeros while training; or the masks of boxes."""
        if masks:
            return self.mask_head(features, boxes, training=training)
        if not training:
            return self.box_head(features, boxes, training=training)
        rows = (*ops.shape(boxes)[:2],)
        classes = self.box_head.classes
        return {
            "box_offsets": ops.zeros((*rows, classes, 4)),
            "class_logits": ops.zeros((*rows, 1 + classes)),
        }

    def compute_output_spec(
        self,
        features: Sequence[Tensor],
        boxes: Tensor,
        masks: bool = False,
        training: bool | None = None,
    ) -> dict[str, keras.KerasTensor] | keras.KerasTensor:
        """Offsets and logits, or masks, of symbolic features."""
        head = self.mask_head if masks else self.box_head
        shapes = head.compute_output_shape([x.shape for x in features], boxes.shape)
        if masks:
            return keras.KerasTensor(shapes, "float32")
        return {key: keras.KerasTensor(shape, "float32") for key, shape in shapes.items()}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        mask_head = self.mask_head
        config.update(
            box_head=as_config(self.box_head),
            mask_head=None if mask_head is None else as_config(mask_head),
        )
        return config
