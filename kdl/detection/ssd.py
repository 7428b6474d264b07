"""SSD: single-shot detection with default boxes (arXiv 1512.02325), and SSDLite."""

from collections.abc import Sequence

import keras
import numpy as np

from kdl._checks import check_choice, check_integer
from kdl._typing import DType
from kdl.applications._backbone import as_backbone, conventions
from kdl.applications.mobilenet_v3 import MobileNetV3
from kdl.detection._dense_detector import DenseDetector, features_of, image_size_of
from kdl.detection._part import as_part
from kdl.detection._torch_names import of_ssd
from kdl.detection.box_coder import BoxCoder
from kdl.detection.default_boxes import DefaultBoxes
from kdl.detection.detection_selector import DetectionSelector
from kdl.detection.matcher import Matcher
from kdl.detection.ssd_extras import SSDExtras
from kdl.detection.ssd_head import SSDHead
from kdl.detection.ssd_vgg16 import SSDVGG16
from kdl.losses import HardNegativeMining, SmoothL1

_WEIGHTS = (10, 10, 5, 5)

# Size → stages of extra features, strides, extra aspect ratios of each level.
_VARIANTS = {
    300: (
        [(256, 512), (128, 256), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)],
        (8, 16, 32, 64, 100, 300),
        [(2,), (2, 3), (2, 3), (2, 3), (2,), (2,)],
    ),
    512: (
        [(256, 512), (128, 256), (128, 256), (128, 256), (128, 256, 4, 1, 1)],
        (8, 16, 32, 64, 128, 256, 512),
        [(2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)],
    ),
}
# Data set and size → sides of the squares over that of the image, and one more.
_SCALES = {
    ("voc", 300): np.array([30, 60, 111, 162, 213, 264, 315]) / 300,
    ("coco", 300): np.array([21, 45, 99, 153, 207, 261, 315]) / 300,
    ("voc", 512): (0.07, 0.15, 0.30, 0.45, 0.60, 0.75, 0.90, 1.05),
    ("coco", 512): (0.04, 0.10, 0.26, 0.42, 0.58, 0.74, 0.90, 1.06),
}


@keras.saving.register_keras_serializable("kdl")
class SSD(DenseDetector):
    """SSD on any backbone: default boxes on features of many sizes; SSDLite unless parts are given.

    Image → backbone → `SSDExtras`, four more feature maps → `SSDHead`, with six default boxes a
    cell. Without parts all convolutions behind the backbone are separable, as in SSDLite;
    `kdl.detection.SSD300` and `SSD512` are the paper's networks, `SSDLite320` is that of
    torchvision. Each truth gets a default box of its own, and all that overlap it by 0.5; the loss
    is of these and of the three times as many negatives that are hardest.

    How it is trained, and what `fit` and `predict` take and give, is told in
    `kdl.detection.Detector`.

    Input: that of the backbone, of known height and width. Output: a dict of `"box_offsets"`
    `(batch, N, 4)` and `"class_logits"` `(batch, N, 1 + classes)`, background first, float32.

    Args:
        backbone: A functional model, such as those of `kdl.applications` or `keras.applications`
            with `include_top=False`, or its serialized form. Its layers and weights become part of
            this model.
        classes: Number of classes, background not counted.
        levels: Levels of the backbone's pyramid that are read. Defaults to `("P4", "P5")`.
        neck: The layer between backbone and head. Defaults to `SSDExtras()`, those of SSDLite.
        head: An `SSDHead` or a layer like it. Defaults to a separable one.
        anchors: `DefaultBoxes`. Defaults to scales from 0.2 to 0.95 of the image and the ratios 2
            and 3, as in torchvision's SSDLite: for smaller objects, pass smaller ones.
        matcher: Defaults to `Matcher(0.5, force="bipartite")`, as in the paper's code.
        coder: Defaults to `BoxCoder((10, 10, 5, 5))`.
        selector: Defaults to the 300 best of each class above 0.001, suppressed at 0.55, as in
            torchvision's SSDLite.
        dtype: Dtype policy of neck and head; by default that of a backbone of kdl, else the global
            one.
        data_format: `"channels_last"` or `"channels_first"`; by default that of a backbone of kdl,
            else Keras's image data format.
        name: Name of the model.

    Raises:
        ValueError: If the backbone has no such levels or a dynamic size, or parts do not fit each
            other.

    Source: Liu et al., SSD (arXiv 1512.02325); Sandler et al., MobileNetV2 (arXiv 1801.04381),
    section 6.2.

    Example:
        >>> import kdl, numpy as np
        >>> backbone = kdl.applications.ShuffleNetV2(0.5, include_top=False,
        ...     input_shape=(96, 96, 3), data_format="channels_last")
        >>> model = SSD(backbone, classes=3)
        >>> model.output["class_logits"].shape
        (None, 312, 4)
        >>> detections = model.predict(np.zeros((1, 96, 96, 3), "float32"), verbose=0)
        >>> detections["boxes"].shape
        (1, 300, 4)
    """

    def __init__(
        self,
        backbone: keras.Model | dict,
        classes: int,
        levels: Sequence[str] = ("P4", "P5"),
        neck: keras.layers.Layer | dict | None = None,
        head: keras.layers.Layer | dict | None = None,
        anchors: DefaultBoxes | dict | None = None,
        matcher: Matcher | dict | None = None,
        coder: BoxCoder | dict | None = None,
        selector: DetectionSelector | dict | None = None,
        dtype: DType = None,
        data_format: str | None = None,
        name: str = "ssd",
    ) -> None:
        backbone = as_backbone(backbone)
        classes = check_integer("classes", classes)
        dtype, data_format = conventions(backbone, dtype, data_format)
        size = image_size_of(backbone.inputs[0], data_format)
        common = {"data_format": data_format, "dtype": dtype, "epsilon": 1e-3}
        neck = as_part(neck) or SSDExtras(name="extras", **common)
        features = neck(features_of(backbone, levels))
        anchors = as_part(anchors) or default_boxes(len(features))
        head = as_part(head) or SSDHead(classes, anchors.per_cell, name="head", **common)
        parts = {
            "neck": neck,
            "head": head,
            "anchors": anchors,
            "matcher": as_part(matcher) or Matcher(0.5, force="bipartite"),
            "coder": as_part(coder) or BoxCoder(_WEIGHTS),
            "selector": as_part(selector) or DetectionSelector(0.001, 0.55, 300, "class", 300),
        }
        own = {"levels": tuple(levels), "dtype": dtype.name, "data_format": data_format}
        super().__init__(backbone, size, features, parts, classes, "softmax", own, name)
        self._aside.names = of_ssd(backbone, neck, head)

    def default_losses(self) -> dict[str, keras.losses.Loss]:
        """Cross-entropy with hard-negative mining, and the smooth L1 loss of offsets."""
        return {"box_loss": SmoothL1(reduction="sum"), "class_loss": HardNegativeMining()}


def SSD300(
    classes: int,
    data: str = "coco",
    backbone: keras.Model | dict | None = None,
    dtype: DType = None,
    data_format: str | None = None,
    name: str = "ssd300",
) -> SSD:
    """SSD of the paper for images of 300×300 pixels, on VGG-16.

    Args:
        classes: Number of classes, background not counted.
        data: Which of the paper's scales: `"coco"` (default), or `"voc"` with larger boxes.
        backbone: Defaults to `SSDVGG16`.
        dtype: Dtype policy of the layers; the global one by default.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        name: Name of the model.
    """
    return _paper(300, classes, data, backbone, dtype, data_format, name)


def SSD512(
    classes: int,
    data: str = "coco",
    backbone: keras.Model | dict | None = None,
    dtype: DType = None,
    data_format: str | None = None,
    name: str = "ssd512",
) -> SSD:
    """SSD of the paper for images of 512×512 pixels, on VGG-16; arguments as in `SSD300`."""
    return _paper(512, classes, data, backbone, dtype, data_format, name)


def SSDLite320(
    classes: int,
    backbone: keras.Model | dict | None = None,
    matcher: Matcher | dict | None = None,
    dtype: DType = None,
    data_format: str | None = None,
    name: str = "ssdlite320",
) -> SSD:
    """SSDLite of torchvision for images of 320×320 pixels, on MobileNetV3.

    Args:
        classes: Number of classes, background not counted.
        backbone: Defaults to `MobileNetV3(reduced_tail=True)`, that of the published weights.
        matcher: Defaults to that of `SSD`; torchvision has `Matcher(0.5, force="argmax")`.
        dtype: Dtype policy of the layers; the global one by default.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        name: Name of the model.
    """
    if backbone is None:
        backbone = MobileNetV3(
            reduced_tail=True,
            include_top=False,
            input_shape=_image_shape(320, data_format),
            dtype=dtype,
            data_format=data_format,
        )
    backbone = as_backbone(backbone)
    policy, data_format = conventions(backbone, dtype, data_format)
    common = {"data_format": data_format, "dtype": policy, "epsilon": 1e-3, "momentum": 0.97}
    neck, boxes = SSDExtras(name="extras", **common), default_boxes(6)
    return SSD(
        backbone,
        classes,
        neck=neck,
        head=SSDHead(classes, boxes.per_cell, name="head", **common),
        anchors=boxes,
        matcher=matcher,
        dtype=policy,
        data_format=data_format,
        name=name,
    )


def default_boxes(levels: int) -> DefaultBoxes:
    """Default boxes of SSDLite: scales from 0.2 to 0.95, evenly, then 1; ratios 2 and 3."""
    scales = np.linspace(0.2, 0.95, levels) if levels > 1 else [0.2]
    return DefaultBoxes([*scales, 1.0], [(2, 3)] * levels, clip=True)


def _paper(size, classes, data, backbone, dtype, data_format, name):
    check_choice("data", data, ("coco", "voc"))
    if backbone is None:
        backbone = SSDVGG16(_image_shape(size, data_format), dtype, data_format)
    dtype, data_format = conventions(as_backbone(backbone), dtype, data_format)
    common = {"data_format": data_format, "dtype": dtype}
    stages, strides, ratios = _VARIANTS[size]
    boxes = DefaultBoxes(_SCALES[data, size], ratios, strides)
    return SSD(
        backbone,
        classes,
        levels=("P3", "P4"),
        neck=SSDExtras(stages, separable=False, name="extras", **common),
        head=SSDHead(classes, boxes.per_cell, separable=False, name="head", **common),
        anchors=boxes,
        selector=DetectionSelector(0.01, 0.45, 400, "class", 200),
        dtype=dtype,
        data_format=data_format,
        name=name,
    )


def _image_shape(size, data_format):
    data_format = data_format or keras.config.image_data_format()
    return (size, size, 3) if data_format == "channels_last" else (3, size, size)
