"""FCOS: dense detection without anchor boxes (arXiv 1904.01355)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import DType, Tensor
from kdl.applications._backbone import as_backbone, conventions
from kdl.detection._box_losses import shares
from kdl.detection._dense_detector import DenseDetector, features_of, image_size_of
from kdl.detection._part import as_part
from kdl.detection._torch_names import of_fcos
from kdl.detection.anchor_generator import AnchorGenerator
from kdl.detection.anchor_targets import AnchorTargets
from kdl.detection.box_coder import BoxCoder
from kdl.detection.detection_selector import DetectionSelector
from kdl.detection.fcos_head import FCOSHead
from kdl.detection.fcos_matcher import FCOSMatcher
from kdl.detection.feature_pyramid import FeaturePyramid
from kdl.detection.linear_box_coder import LinearBoxCoder, distances_to_sides
from kdl.detection.matcher import Matcher
from kdl.losses import FocalLoss, GIoULoss

_STRIDES = (8, 16, 32, 64, 128)


@keras.saving.register_keras_serializable("kdl")
class FCOS(DenseDetector):
    """FCOS on any backbone: every point of a pyramid tells a class, a box and its center-ness.

    Image → backbone → `FeaturePyramid` of five levels → `FCOSHead`. A point near the center of a
    truth whose size is that of its level finds it. The center-ness of a point with the distances
    `l, t, r, b` to the sides of its truth is
    `√(min(l, r) / max(l, r) · min(t, b) / max(t, b))`, and the score of a detection
    `√(p(class) · p(center-ness))`. Without parts it is torchvision's network.

    How it is trained, and what `fit` and `predict` take and give, is told in
    `kdl.detection.Detector`.

    Input: that of the backbone, of known height and width. Output: a dict of `"box_offsets"`
    `(batch, N, 4)`, `"centerness_logits"` `(batch, N)` and `"class_logits"` `(batch, N, classes)`,
    float32.

    Args:
        backbone: A functional model, such as those of `kdl.applications` or `keras.applications`
            with `include_top=False`, or its serialized form. Its layers and weights become part of
            this model.
        classes: Number of classes, background not counted.
        levels: Levels of the backbone's pyramid that are read. Defaults to `("P3", "P4", "P5")`.
        neck: The layer between backbone and head. Defaults to `FeaturePyramid(256, extra="p5")`.
        head: An `FCOSHead` or a layer like it. Defaults to one with 256 channels.
        anchors: An `AnchorGenerator` of one square a cell, whose side is the stride. Defaults to
            sides from 8 to 128 pixels.
        matcher: Defaults to `FCOSMatcher()`.
        coder: Defaults to `LinearBoxCoder()`.
        selector: Defaults to `DetectionSelector(0.2, 0.6)`: scores above 0.2, suppression at 0.6,
            100 detections.
        dtype: Dtype policy of neck and head; by default that of a backbone of kdl, else the global
            one.
        data_format: `"channels_last"` or `"channels_first"`; by default that of a backbone of kdl,
            else Keras's image data format.
        name: Name of the model.

    Raises:
        ValueError: If the backbone has no such levels or a dynamic size, or parts do not fit each
            other.

    Source: Tian et al., FCOS (arXiv 1904.01355).

    Example:
        >>> import kdl, numpy as np
        >>> backbone = kdl.applications.ShuffleNetV2(0.5, include_top=False,
        ...     input_shape=(64, 64, 3), data_format="channels_last")
        >>> model = FCOS(backbone, classes=3, neck=FeaturePyramid(32, extra="p5"),
        ...     head=FCOSHead(3, filters=32, depth=1))
        >>> model.output["centerness_logits"].shape, len(model.anchors)
        ((None, 86), 86)
        >>> detections = model.predict(np.zeros((1, 64, 64, 3), "float32"), verbose=0)
        >>> detections["boxes"].shape
        (1, 100, 4)
    """

    losses_of_terms: ClassVar[tuple[str, ...]] = ("box_loss", "class_loss", "centerness_loss")

    def __init__(
        self,
        backbone: keras.Model | dict,
        classes: int,
        levels: Sequence[str] = ("P3", "P4", "P5"),
        neck: keras.layers.Layer | dict | None = None,
        head: keras.layers.Layer | dict | None = None,
        anchors: AnchorGenerator | dict | None = None,
        matcher: FCOSMatcher | Matcher | dict | None = None,
        coder: LinearBoxCoder | BoxCoder | dict | None = None,
        selector: DetectionSelector | dict | None = None,
        dtype: DType = None,
        data_format: str | None = None,
        name: str = "fcos",
    ) -> None:
        backbone = as_backbone(backbone)
        classes = check_integer("classes", classes)
        dtype, data_format = conventions(backbone, dtype, data_format)
        size = image_size_of(backbone.inputs[0], data_format)
        common = {"data_format": data_format, "dtype": dtype}
        points = AnchorGenerator([(stride,) for stride in _STRIDES], ratios=(1.0,))
        parts: dict[str, Any] = {
            "neck": as_part(neck) or FeaturePyramid(extra="p5", name="fpn", **common),
            "head": as_part(head) or FCOSHead(classes, name="head", **common),
            "anchors": as_part(anchors) or points,
            "matcher": as_part(matcher) or FCOSMatcher(),
            "coder": as_part(coder) or LinearBoxCoder(),
            "selector": as_part(selector) or DetectionSelector(0.2, 0.6),
        }
        features = parts["neck"](features_of(backbone, levels))
        own = {"levels": tuple(levels), "dtype": dtype.name, "data_format": data_format}
        super().__init__(backbone, size, features, parts, classes, "sigmoid", own, name)
        self._aside.names = of_fcos(backbone, parts["neck"].name, parts["head"])

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
        centerness_loss: keras.losses.Loss | None = None,
    ) -> None:
        """Set the optimizer and the losses.

        Args:
            optimizer: As in Keras.
            box_loss: As in `Detector.compile`. Defaults to `kdl.losses.GIoULoss`.
            class_loss: As there. Defaults to `kdl.losses.FocalLoss`.
            loss_weights: Dict of these names → weight. Defaults to ones.
            run_eagerly: As in Keras, like all that follow.
            steps_per_execution: Batches in one call of the compiled step.
            jit_compile: Whether XLA compiles the step.
            auto_scale_loss: Whether the loss is scaled where layers compute in float16.
            centerness_loss: Loss of the center-ness of positive points, of logits and a sum, which
                is divided by their number in the batch. Defaults to binary cross-entropy.

        Raises:
            ValueError: If a loss is no sum of logits' losses, or a weight of none of the losses.
        """
        self._compile(locals())

    def default_losses(self) -> dict[str, keras.losses.Loss]:
        """The focal loss, the generalized IoU loss, and binary cross-entropy."""
        return {
            "box_loss": GIoULoss(reduction="sum"),
            "class_loss": FocalLoss(from_logits=True, normalize_by_positives=True, reduction="sum"),
            "centerness_loss": keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum"),
        }

    def losses_of_targets(
        self,
        targets: AnchorTargets,
        truth: dict,
        outputs: dict[str, Tensor],
        sample_weight: Tensor | None,
    ) -> dict[str, Tensor]:
        """The losses of boxes, of classes and of the center-ness, where the targets are known."""
        terms = super().losses_of_targets(targets, truth, outputs, sample_weight)
        positive = targets.positive & targets.valid
        boxes = ops.where(ops.expand_dims(positive, -1), targets.boxes, self.anchors)
        terms["centerness_loss"] = self._aside.losses["centerness_loss"](
            ops.expand_dims(centerness(boxes, self.anchors), -1),
            ops.expand_dims(outputs["centerness_logits"], -1),
            sample_weight=shares(positive, positive, sample_weight),
        )
        return terms


def centerness(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Center-ness `(batch, N)` of points in boxes `(batch, N, 4)`, 0 on their sides."""
    before, after = distances_to_sides(boxes, ops.cast(anchors, boxes.dtype))
    shorter = ops.maximum(ops.minimum(before, after), 0.0)
    return ops.sqrt(ops.prod(shorter / ops.maximum(before, after), -1))
