"""RetinaNet: dense detection with the focal loss (arXiv 1708.02002)."""

from collections.abc import Sequence

import keras

from kdl._checks import check_integer
from kdl._typing import DType
from kdl.applications._backbone import as_backbone, conventions
from kdl.detection._dense_detector import DenseDetector, features_of, image_size_of
from kdl.detection._part import as_part
from kdl.detection._torch_names import of_retinanet
from kdl.detection.anchor_generator import AnchorGenerator
from kdl.detection.box_coder import BoxCoder
from kdl.detection.detection_selector import DetectionSelector
from kdl.detection.feature_pyramid import FeaturePyramid
from kdl.detection.matcher import Matcher
from kdl.detection.retinanet_head import RetinaNetHead
from kdl.losses import FocalLoss, SmoothL1

_SIZES = (32, 64, 128, 256, 512)


@keras.saving.register_keras_serializable("kdl")
class RetinaNet(DenseDetector):
    """RetinaNet on any backbone: a feature pyramid, two towers, the focal loss.

    Image → backbone → `FeaturePyramid` of five levels → `RetinaNetHead`, with nine anchors a cell.
    An anchor that overlaps a truth by 0.5 finds it, one below 0.4 is background. Without parts it
    is torchvision's first RetinaNet; its second has `neck=FeaturePyramid(256, extra="c5")`,
    `head=RetinaNetHead(classes, group_norm=True)` and the box loss `kdl.losses.GIoULoss`.

    How it is trained, and what `fit` and `predict` take and give, is told in
    `kdl.detection.Detector`.

    Input: that of the backbone, of known height and width. Output: a dict of `"box_offsets"`
    `(batch, N, 4)` and `"class_logits"` `(batch, N, classes)`, float32.

    Args:
        backbone: A functional model, such as those of `kdl.applications` or `keras.applications`
            with `include_top=False`, or its serialized form. Its layers and weights become part of
            this model.
        classes: Number of classes, background not counted.
        levels: Levels of the backbone's pyramid that are read. Defaults to `("P3", "P4", "P5")`.
        neck: The layer between backbone and head. Defaults to `FeaturePyramid(256, extra="p5")`.
        head: A `RetinaNetHead` or a layer like it. Defaults to one with 256 channels.
        anchors: An `AnchorGenerator`. Defaults to 3 sizes from 32, 64, … 512 pixels on and 3 ratios
            a cell: for smaller objects, or images, pass smaller ones.
        matcher: Defaults to `Matcher(0.5, 0.4, force="ties")`.
        coder: Defaults to `BoxCoder()`.
        selector: Defaults to `DetectionSelector(max_detections=300)`.
        dtype: Dtype policy of neck and head; by default that of a backbone of kdl, else the global
            one.
        data_format: `"channels_last"` or `"channels_first"`; by default that of a backbone of kdl,
            else Keras's image data format.
        name: Name of the model.

    Raises:
        ValueError: If the backbone has no such levels or a dynamic size, or parts do not fit each
            other.

    Source: Lin et al., Focal Loss for Dense Object Detection (arXiv 1708.02002), section 4.

    Example:
        >>> import kdl, numpy as np
        >>> backbone = kdl.applications.ShuffleNetV2(0.5, include_top=False,
        ...     input_shape=(64, 64, 3), data_format="channels_last")
        >>> model = RetinaNet(backbone, classes=3, neck=FeaturePyramid(16, extra="p5"),
        ...     head=RetinaNetHead(3, filters=16, depth=1))
        >>> model.output["class_logits"].shape, len(model.anchors)
        ((None, 774, 3), 774)
        >>> detections = model.predict(np.zeros((1, 64, 64, 3), "float32"), verbose=0)
        >>> detections["boxes"].shape
        (1, 300, 4)
    """

    def __init__(
        self,
        backbone: keras.Model | dict,
        classes: int,
        levels: Sequence[str] = ("P3", "P4", "P5"),
        neck: keras.layers.Layer | dict | None = None,
        head: keras.layers.Layer | dict | None = None,
        anchors: AnchorGenerator | dict | None = None,
        matcher: Matcher | dict | None = None,
        coder: BoxCoder | dict | None = None,
        selector: DetectionSelector | dict | None = None,
        dtype: DType = None,
        data_format: str | None = None,
        name: str = "retinanet",
    ) -> None:
        backbone = as_backbone(backbone)
        classes = check_integer("classes", classes)
        dtype, data_format = conventions(backbone, dtype, data_format)
        size = image_size_of(backbone.inputs[0], data_format)
        common = {"data_format": data_format, "dtype": dtype}
        anchors = as_part(anchors) or default_anchors()
        neck = as_part(neck) or FeaturePyramid(extra="p5", name="fpn", **common)
        head = as_part(head) or RetinaNetHead(classes, anchors.per_cell[0], name="head", **common)
        parts = {
            "neck": neck,
            "head": head,
            "anchors": anchors,
            "matcher": as_part(matcher) or Matcher(0.5, 0.4, force="ties"),
            "coder": as_part(coder) or BoxCoder(),
            "selector": as_part(selector) or DetectionSelector(max_detections=300),
        }
        features = neck(features_of(backbone, levels))
        own = {"levels": tuple(levels), "dtype": dtype.name, "data_format": data_format}
        super().__init__(backbone, size, features, parts, classes, "sigmoid", own, name)
        self._aside.names = of_retinanet(backbone, neck.name, head.name)

    def default_losses(self) -> dict[str, keras.losses.Loss]:
        """The focal loss, and the L1 loss of offsets."""
        focal = FocalLoss(from_logits=True, normalize_by_positives=True, reduction="sum")
        return {"box_loss": SmoothL1(beta=0.0, reduction="sum"), "class_loss": focal}


def default_anchors() -> AnchorGenerator:
    """The anchors of RetinaNet, sides in whole pixels as torchvision has them."""
    octaves = (1, 2 ** (1 / 3), 2 ** (2 / 3))
    return AnchorGenerator([[int(side * octave) for octave in octaves] for side in _SIZES])
