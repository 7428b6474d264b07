"""Faster R-CNN with a feature pyramid (arXiv 1506.01497, 1612.03144)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import DType, Tensor
from kdl.applications._backbone import as_backbone, conventions
from kdl.detection._box_losses import box_loss, shares
from kdl.detection._dense_detector import features_of, image_size_of, sizes_of
from kdl.detection._grids import grid_of
from kdl.detection._part import as_config, as_part
from kdl.detection._torch_names import of_two_stages
from kdl.detection.anchor_targets import AnchorTargets, assign_targets
from kdl.detection.balanced_sampler import BalancedSampler
from kdl.detection.box_coder import BoxCoder
from kdl.detection.box_head import BoxHead
from kdl.detection.detection_selector import DetectionSelector
from kdl.detection.detector import Detector
from kdl.detection.feature_pyramid import FeaturePyramid
from kdl.detection.matcher import Matcher
from kdl.detection.region_detections import RegionDetections
from kdl.detection.roi_heads import ROIHeads
from kdl.detection.rpn import RPN
from kdl.losses import SmoothL1

_WEIGHTS = (10, 10, 5, 5)


@keras.saving.register_keras_serializable("kdl")
class FasterRCNN(Detector):
    """Faster R-CNN on any backbone: proposals of a region proposal network, classified and refined.

    Image → backbone → `FeaturePyramid` of four levels and a pooled one → `RPN` → `ROIHeads`.
    While training, the truth is added to the proposals, and 512 of these an image are sampled, a
    quarter of them positive. Without parts it is torchvision's first Faster R-CNN; its second has
    `neck=FeaturePyramid(256, extra="pool", norm=True)`, `rpn=RPN(size, depth=2)` and
    `roi_heads=ROIHeads(BoxHead(classes, depth=4, units=(1024,)))`.

    How it is trained, and what `fit` and `predict` take and give, is told in
    `kdl.detection.Detector`.

    Input: that of the backbone, of known height and width. Output: a dict of what `RPN` and
    `ROIHeads` give, the latter zeros while training; `"rpn_offsets"` are the offsets of the first;
    `"features"` are those that regions are read from.

    Args:
        backbone: A functional model, such as those of `kdl.applications` or `keras.applications`
            with `include_top=False`, or its serialized form. Its layers and weights become part of
            this model.
        classes: Number of classes, background not counted.
        levels: Levels of the backbone's pyramid that are read. Defaults to `("P2", "P3", "P4",
            "P5")`.
        neck: The layer between backbone and heads. Defaults to `FeaturePyramid(extra="pool")`.
        rpn: The `RPN`. Defaults to torchvision's first.
        roi_heads: The `ROIHeads`, which read the levels that the backbone has. Defaults to one with
            a `BoxHead`.
        rpn_matcher: Of anchors. Defaults to `Matcher(0.7, 0.3, force="ties")`.
        rpn_sampler: Of anchors. Defaults to `BalancedSampler(256, 0.5)`.
        matcher: Of proposals. Defaults to `Matcher(0.5)`.
        sampler: Of proposals. Defaults to `BalancedSampler(512, 0.25)`.
        coder: Of the second stage. Defaults to `BoxCoder((10, 10, 5, 5))`.
        selector: Defaults to `DetectionSelector(candidates_of="class")`: scores above 0.05, at
            most 1000 of a class, suppression at 0.5, 100 detections.
        seed: Of the samplers: an integer, or None (default) for any.
        dtype: Dtype policy of neck and heads; by default that of a backbone of kdl, else the global
            one.
        data_format: `"channels_last"` or `"channels_first"`; by default that of a backbone of kdl,
            else Keras's image data format.
        name: Name of the model.

    Raises:
        ValueError: If the backbone has no such levels or a dynamic size, or parts do not fit each
            other.

    Source: Ren et al., Faster R-CNN (arXiv 1506.01497); Lin et al., Feature Pyramid Networks (arXiv
    1612.03144), section 4.

    Example:
        >>> import kdl, numpy as np
        >>> backbone = kdl.applications.ShuffleNetV2(0.5, include_top=False,
        ...     input_shape=(64, 64, 3), data_format="channels_last")
        >>> common = {"data_format": "channels_last"}
        >>> model = FasterRCNN(backbone, classes=3, neck=FeaturePyramid(16, "pool", **common),
        ...     rpn=RPN((64, 64), filters=16, proposals=(50, 20), **common),
        ...     roi_heads=ROIHeads(BoxHead(3, units=(32,), **common), **common))
        >>> model.output["class_logits"].shape
        (None, 20, 4)
        >>> detections = model.predict(np.zeros((1, 64, 64, 3), "float32"), verbose=0)
        >>> detections["boxes"].shape
        (1, 100, 4)
    """

    losses_of_terms: ClassVar[tuple[str, ...]] = (
        "box_loss",
        "class_loss",
        "rpn_box_loss",
        "rpn_class_loss",
    )

    def __init__(
        self,
        backbone: keras.Model | dict,
        classes: int,
        levels: Sequence[str] = ("P2", "P3", "P4", "P5"),
        neck: keras.layers.Layer | dict | None = None,
        rpn: RPN | dict | None = None,
        roi_heads: ROIHeads | dict | None = None,
        rpn_matcher: Matcher | dict | None = None,
        rpn_sampler: BalancedSampler | dict | None = None,
        matcher: Matcher | dict | None = None,
        sampler: BalancedSampler | dict | None = None,
        coder: BoxCoder | dict | None = None,
        selector: DetectionSelector | dict | None = None,
        seed: int | None = None,
        dtype: DType = None,
        data_format: str | None = None,
        name: str = "faster_rcnn",
    ) -> None:
        backbone = as_backbone(backbone)
        classes = check_integer("classes", classes)
        dtype, data_format = conventions(backbone, dtype, data_format)
        common = {"data_format": data_format, "dtype": dtype}
        size = image_size_of(backbone.inputs[0], data_format)
        layers = {
            "neck": as_part(neck) or FeaturePyramid(extra="pool", name="fpn", **common),
            "rpn": as_part(rpn) or RPN(size, name="rpn", **common),
            "roi_heads": as_part(roi_heads) or self.default_heads(classes, common),
        }
        parts: dict[str, Any] = {
            "rpn_matcher": as_part(rpn_matcher) or Matcher(0.7, 0.3, force="ties"),
            "rpn_sampler": as_part(rpn_sampler) or BalancedSampler(256, 0.5),
            "matcher": as_part(matcher) or Matcher(0.5),
            "sampler": as_part(sampler) or BalancedSampler(512, 0.25),
            "coder": as_part(coder) or BoxCoder(_WEIGHTS),
            "selector": as_part(selector) or DetectionSelector(candidates_of="class"),
        }
        heads = layers["roi_heads"]
        _check_parts(heads, layers["rpn"], classes, size)
        if "mask_loss" in self.losses_of_terms and heads.mask_head is None:
            raise ValueError("roi_heads has no mask head: pass ROIHeads(box_head, MaskHead(…)).")
        features = layers["neck"](features_of(backbone, levels))
        _check_strides(heads, size, sizes_of(features[: len(levels)], data_format))
        first = layers["rpn"](features)
        features = features[: len(levels)]
        outputs = {
            **{key: first[key] for key in ("objectness", "proposal_scores", "proposals")},
            **heads(features, first["proposals"]),
            "features": features,
            "rpn_offsets": first["box_offsets"],
        }
        outputs = {key: outputs[key] for key in sorted(outputs)}
        decoder = RegionDetections(parts["coder"], parts["selector"], size, dtype="float32")
        arguments = {
            "backbone": as_config(backbone),
            "classes": classes,
            "levels": tuple(levels),
            **{key: as_config(part) for key, part in {**layers, **parts}.items()},
            "seed": seed,
            "dtype": dtype.name,
            "data_format": data_format,
        }
        super().__init__(backbone.inputs[0], outputs, decoder, arguments, name)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._aside.parts = parts
        self._aside.names = of_two_stages(
            backbone, layers["neck"].name, layers["rpn"].name, layers["roi_heads"]
        )

    @property
    def rpn(self) -> RPN:
        """The region proposal network."""
        return next(layer for layer in self.layers if isinstance(layer, RPN))

    @property
    def roi_heads(self) -> ROIHeads:
        """The heads of the second stage."""
        return next(layer for layer in self.layers if isinstance(layer, ROIHeads))

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
    ) -> None:
        """Set the optimizer and the losses.

        Each loss is a sum of values of anchors or proposals, which is divided by the number of
        those that were sampled in the whole batch.

        Args:
            optimizer: As in Keras.
            box_loss: Loss of the boxes of proposals, as in `Detector.compile`. Defaults to the
                smooth L1 loss with `beta=1/9`.
            class_loss: Loss of class numbers, 0 for the background, and logits. Defaults to
                cross-entropy.
            loss_weights: Dict of these names → weight. Defaults to ones.
            run_eagerly: As in Keras, like all that follow.
            steps_per_execution: Batches in one call of the compiled step.
            jit_compile: Whether XLA compiles the step.
            auto_scale_loss: Whether the loss is scaled where layers compute in float16.
            rpn_box_loss: Loss of the boxes of anchors. Defaults to the smooth L1 loss, too.
            rpn_class_loss: Loss of the objectness of anchors. Defaults to binary cross-entropy.

        Raises:
            ValueError: If a loss is no sum of logits' losses, or a weight of none of the losses.
        """
        self._compile(locals())

    def default_losses(self) -> dict[str, keras.losses.Loss]:
        """Cross-entropies, and the smooth L1 loss of offsets."""
        settings = {"from_logits": True, "reduction": "sum"}
        return {
            "box_loss": SmoothL1(beta=1 / 9, reduction="sum"),
            "class_loss": keras.losses.SparseCategoricalCrossentropy(**settings),
            "rpn_box_loss": SmoothL1(beta=1 / 9, reduction="sum"),
            "rpn_class_loss": keras.losses.BinaryCrossentropy(**settings),
        }

    def class_loss_settings(self) -> dict[str, Any]:
        """Settings that a loss of classes must have, if it has such, to fit the head's columns."""
        return {"activation": "softmax", "background_class": 0, "normalize_by_positives": False}

    def default_heads(self, classes: int, common: dict[str, Any]) -> ROIHeads:
        """The heads of the second stage where none are given."""
        return ROIHeads(BoxHead(classes, name="box_head", **common), name="roi_heads", **common)

    def loss_terms(
        self,
        truth: dict,
        outputs: dict,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> dict[str, Tensor]:
        """The losses of both stages."""
        regions = self.sample_regions(truth, outputs)
        return {
            **self._rpn_losses(truth, outputs, sample_weight),
            **self._region_losses(truth, outputs["features"], regions, sample_weight, training),
        }

    def sample_regions(self, truth: dict, outputs: dict) -> tuple[Tensor, AnchorTargets]:
        """Proposals and truths that the second stage is trained on, and their targets.

        Returns:
            Boxes `(batch, R, 4)`, positive ones first, and `AnchorTargets` of them; `valid` are
            those that were drawn.
        """
        parts, exists = self._aside.parts, ops.cast(truth["labels"], "int32") >= 0
        if truth.get("ignore") is not None:
            exists = exists & ~ops.cast(truth["ignore"], "bool")
        own = ops.where(ops.expand_dims(exists, -1), ops.cast(truth["boxes"], "float32"), 0.0)
        boxes = ops.stop_gradient(ops.concatenate([outputs["proposals"], own], 1))
        exists = ops.concatenate([outputs["proposal_scores"] >= 0, exists], 1)
        targets = assign_targets(
            parts["matcher"], boxes, truth["boxes"], truth["labels"], truth.get("ignore")
        )
        positive = targets.positive & exists
        drawn = parts["sampler"](positive, targets.valid & exists, self.seed_generator)
        order = ops.cast(drawn, "int32") + ops.cast(drawn & positive, "int32")
        count = min(parts["sampler"].count, boxes.shape[1])
        places = ops.cast(ops.top_k(ops.cast(order, "float32"), count)[1], "int32")
        rows = ops.expand_dims(places, -1)
        return ops.take_along_axis(boxes, rows, 1), AnchorTargets(
            ops.take_along_axis(targets.labels, places, 1),
            ops.take_along_axis(targets.boxes, rows, 1),
            ops.take_along_axis(positive & drawn, places, 1),
            ops.take_along_axis(drawn, places, 1),
            ops.take_along_axis(targets.indices, places, 1),
        )

    def _rpn_losses(self, truth, outputs, weights):
        parts, losses, rpn = self._aside.parts, self._aside.losses, self.rpn
        targets = assign_targets(
            parts["rpn_matcher"], rpn.boxes, truth["boxes"], truth["labels"], truth.get("ignore")
        )
        drawn = parts["rpn_sampler"](targets.positive, targets.valid, self.seed_generator)
        targets = targets._replace(valid=drawn)
        positive = ops.cast(ops.expand_dims(targets.positive, -1), "float32")
        logits = ops.expand_dims(outputs["objectness"], -1)
        return {
            "rpn_class_loss": losses["rpn_class_loss"](
                positive, logits, sample_weight=shares(drawn, drawn, weights)
            ),
            "rpn_box_loss": box_loss(
                losses["rpn_box_loss"],
                rpn.coder,
                rpn.boxes,
                targets,
                truth,
                outputs["rpn_offsets"],
                weights,
                counted=drawn,
            ),
        }

    def _region_losses(self, truth, features, regions, weights, training):
        losses, (boxes, targets) = self._aside.losses, regions
        found = self.roi_heads.box_head(features, boxes, training=training)
        labels = ops.where(targets.positive, targets.labels + 1, 0)
        own = ops.reshape(targets.labels, (*ops.shape(targets.labels), 1, 1))
        offsets = ops.take_along_axis(found["box_offsets"], own, 2)[:, :, 0]
        return {
            "class_loss": losses["class_loss"](
                labels,
                found["class_logits"],
                sample_weight=shares(targets.valid, targets.valid, weights),
            ),
            "box_loss": box_loss(
                losses["box_loss"],
                self._aside.parts["coder"],
                boxes,
                targets,
                truth,
                offsets,
                weights,
                counted=targets.valid,
            ),
        }


def _check_parts(heads, rpn, classes, size):
    if heads.box_head.classes != classes:
        raise ValueError(f"The heads have {heads.box_head.classes} classes; classes is {classes}.")
    if tuple(rpn.image_size) != size:
        raise ValueError(f"The RPN is of images of {rpn.image_size}; the backbone takes {size}.")


def _check_strides(heads, size, grids):
    strides = heads.box_head.strides
    if [grid_of(size, stride) for stride in strides] != grids:
        raise ValueError(
            f"The heads read levels of the strides {strides}; the features are of {grids} cells, "
            f"for an image of {size} pixels."
        )
