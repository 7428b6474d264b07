"""Mask R-CNN: instance segmentation (arXiv 1703.06870)."""

from typing import Any, ClassVar

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.detection._box_losses import shares
from kdl.detection.box_head import BoxHead
from kdl.detection.detection_masks import DetectionMasks
from kdl.detection.faster_rcnn import FasterRCNN
from kdl.detection.mask_head import MaskHead
from kdl.detection.roi_heads import ROIHeads
from kdl.ops._shapes import shapes_match
from kdl.ops.crop_masks import crop_masks


@keras.saving.register_keras_serializable("kdl")
class MaskRCNN(FasterRCNN):
    """Mask R-CNN on any backbone: Faster R-CNN that segments each object, too.

    A mask head gives each positive proposal a mask of every class, of which that of its truth is
    compared with what the truth's mask has there. Without parts it is torchvision's first Mask
    R-CNN; its second has the parts of the second Faster R-CNN and `MaskHead(classes, norm=True)`.

    The ground truth has `"masks"` `(batch, G, height, width)` beside boxes and labels, and
    `predict` gives `"masks"` bool `(batch, max_detections, height, width)`, of the size of the
    network's input. All else is as in `kdl.detection.FasterRCNN`.

    Args:
        backbone: As in `FasterRCNN`, like all but `roi_heads`.
        classes: Number of classes, background not counted.
        levels: Levels of the backbone's pyramid that are read.
        neck: The layer between backbone and heads.
        rpn: The `RPN`.
        roi_heads: `ROIHeads` with a mask head. Defaults to those of the paper.
        rpn_matcher: Of anchors.
        rpn_sampler: Of anchors.
        matcher: Of proposals.
        sampler: Of proposals.
        coder: Of the second stage.
        selector: Of detections.
        seed: Of the samplers.
        dtype: Dtype policy of neck and heads.
        data_format: `"channels_last"` or `"channels_first"`.
        name: Name of the model.

    Raises:
        ValueError: As `FasterRCNN`, or if the heads have no mask head.

    Source: He et al., Mask R-CNN (arXiv 1703.06870), section 3.

    Example:
        >>> import kdl, numpy as np
        >>> backbone = kdl.applications.ShuffleNetV2(0.5, include_top=False,
        ...     input_shape=(64, 64, 3), data_format="channels_last")
        >>> common = {"data_format": "channels_last"}
        >>> heads = kdl.detection.ROIHeads(kdl.detection.BoxHead(3, units=(8,), **common),
        ...     kdl.detection.MaskHead(3, depth=1, filters=8, **common), **common)
        >>> model = MaskRCNN(backbone, 3, neck=kdl.detection.FeaturePyramid(16, "pool", **common),
        ...     rpn=kdl.detection.RPN((64, 64), filters=16, proposals=(50, 20), **common),
        ...     roi_heads=heads)
        >>> model.predict(np.zeros((1, 64, 64, 3), "float32"), verbose=0)["masks"].shape
        (1, 100, 64, 64)
    """

    losses_of_terms: ClassVar[tuple[str, ...]] = (*FasterRCNN.losses_of_terms, "mask_loss")

    def compile(
        self,
        optimizer: str | keras.Optimizer = "adam",
        box_loss: keras.losses.Loss | None = None,
        class_loss: keras.losses.Loss | None = None,
        loss_weights: dict[str, float] | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        rpn_box_loss: keras.losses.Loss | None = None,
        rpn_class_loss: keras.losses.Loss | None = None,
        mask_loss: keras.losses.Loss | None = None,
    ) -> None:
        """Set the optimizer and the losses, as `FasterRCNN.compile` does.

        Args:
            optimizer: As in Keras.
            box_loss: As in `FasterRCNN`.
            class_loss: As in `FasterRCNN`.
            loss_weights: Dict of these names → weight. Defaults to ones.
            run_eagerly: As in Keras, like all that follow.
            steps_per_execution: Batches in one call of the compiled step.
            jit_compile: Whether XLA compiles the step.
            auto_scale_loss: Whether the loss is scaled where layers compute in float16.
            rpn_box_loss: As in `FasterRCNN`.
            rpn_class_loss: As in `FasterRCNN`.
            mask_loss: Loss of a mask's logits, a sum over masks of the mean over pixels, which is
                divided by the positive proposals of the batch. Defaults to binary cross-entropy.

        Raises:
            ValueError: If a loss is no sum of logits' losses, or a weight of none of the losses.
        """
        self._compile(locals())

    def default_losses(self) -> dict[str, keras.losses.Loss]:
        """Those of Faster R-CNN, and the binary cross-entropy of masks."""
        of_masks = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
        return {**super().default_losses(), "mask_loss": of_masks}

    def default_heads(self, classes: int, common: dict[str, Any]) -> ROIHeads:
        """The heads of the second stage where none are given."""
        return ROIHeads(
            BoxHead(classes, name="box_head", **common),
            MaskHead(classes, name="mask_head", **common),
            name="roi_heads",
            **common,
        )

    def loss_terms(
        self,
        truth: dict,
        outputs: dict,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> dict[str, Tensor]:
        """The losses of both stages, and that of masks."""
        if "masks" not in truth:
            raise ValueError(
                f"Mask R-CNN learns from 'masks' (batch, G, height, width) beside boxes and "
                f"labels; received {sorted(truth)}."
            )
        expected = (truth["labels"].shape[1], *self.decoder.image_size)
        if not shapes_match(truth["masks"].shape[1:], expected):
            raise ValueError(
                f"Expected masks (batch, G, height, width) of the size of the network's input, "
                f"(batch, {', '.join(map(str, expected))}); received {tuple(truth['masks'].shape)}."
            )
        return super().loss_terms(truth, outputs, sample_weight, training)

    def inference_model(self) -> keras.Model:
        """Model from images to detections with masks, with this one's layers and weights."""
        detections = self.decode(self.output)
        logits = self.roi_heads(self.output["features"], detections["boxes"], masks=True)
        masks = DetectionMasks(self.decoder.image_size, dtype="float32", name="masks")(
            [detections["boxes"], detections["labels"], logits]
        )
        outputs = dict(sorted({**detections, "masks": masks}.items()))
        return keras.Model(self.inputs[0], outputs, name=f"{self.name}_detections")

    def _region_losses(self, truth, features, regions, weights, training):
        losses = super()._region_losses(truth, features, regions, weights, training)
        boxes, targets = regions
        # Positive ones come first.
        sampler = self._aside.parts["sampler"]
        count = max(1, int(sampler.count * sampler.positive_fraction))
        count = min(count, boxes.shape[1])
        if count < boxes.shape[1]:
            boxes = boxes[:, :count]
            targets = type(targets)(*(part[:, :count] for part in targets))
        logits = self.roi_heads.mask_head(features, boxes, training=training)
        own = ops.reshape(targets.labels, (*ops.shape(targets.labels), 1, 1, 1))
        logits = ops.take_along_axis(logits, own, 4)[..., 0]
        goals = crop_masks(truth["masks"], boxes, targets.indices, tuple(logits.shape[2:]))
        rows = (-1, count, logits.shape[2] * logits.shape[3])
        losses["mask_loss"] = self._aside.losses["mask_loss"](
            ops.reshape(goals, rows),
            ops.reshape(logits, rows),
            sample_weight=shares(targets.positive, targets.positive, weights),
        )
        return losses
