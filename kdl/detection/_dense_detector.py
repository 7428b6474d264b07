"""Detectors that score every anchor in one pass."""

import keras
import numpy as np

from kdl._typing import Tensor
from kdl.applications.pyramid import pyramid
from kdl.detection._box_losses import box_loss
from kdl.detection._part import as_config
from kdl.detection.anchor_targets import AnchorTargets, assign_targets
from kdl.detection.dense_detections import DenseDetections
from kdl.detection.detector import Detector


class DenseDetector(Detector):
    """Base of RetinaNet, FCOS and SSD: a class and a box for each anchor.

    Args:
        backbone: The functional model that features come from.
        size: Height and width of its input.
        features: Features of all levels, which the head takes.
        parts: The parts by the names of the constructor's arguments.
        classes: Number of classes.
        activation: `"sigmoid"`, or `"softmax"` with a column for the background.
        own: The constructor's further arguments as plain data, without `name`.
        name: Name of the model.
    """

    def __init__(self, backbone, size, features, parts, classes, activation, own, name):
        outputs = parts["head"](features)
        columns = outputs["class_logits"].shape[-1]
        if columns != classes + (activation == "softmax"):
            raise ValueError(
                f"The head scores {columns} columns, for {classes} classes"
                f"{' and the background' if activation == 'softmax' else ''}."
            )
        detections = DenseDetections(
            *(parts[name] for name in ("anchors", "coder", "selector")),
            size,
            sizes_of(features, own["data_format"]),
            activation,
            dtype="float32",
        )
        anchors, count = len(detections.boxes), outputs["class_logits"].shape[1]
        if anchors != count:
            raise ValueError(
                f"The head gives scores of {count} anchors, and the anchors are {anchors}: give "
                f"both the same number of anchors a cell and of levels."
            )
        arguments = {
            "backbone": as_config(backbone),
            "classes": classes,
            **own,
            **{name: as_config(part) for name, part in parts.items()},
        }
        outputs = {key: outputs[key] for key in sorted(outputs)}
        super().__init__(backbone.inputs[0], outputs, detections, arguments, name)
        self.matcher = parts["matcher"]

    @property
    def anchors(self) -> np.ndarray:
        """All anchors, float32 `(N, 4)`, xyxy in pixels."""
        return self.decoder.boxes

    def targets(self, truth: dict) -> AnchorTargets:
        """What each anchor is to find in each image."""
        return assign_targets(
            self.matcher, self.anchors, truth["boxes"], truth["labels"], truth.get("ignore")
        )

    def class_loss_settings(self) -> dict:
        """Settings that a loss of classes must have, if it has such, to fit the head's columns."""
        activation = self.decoder.activation
        return {
            "activation": activation,
            "background_class": 0 if activation == "softmax" else -1,
            "normalize_by_positives": True,
        }

    def loss_terms(self, truth, outputs, sample_weight=None, training=True) -> dict[str, Tensor]:
        """The losses of boxes and of classes."""
        return self.losses_of_targets(self.targets(truth), truth, outputs, sample_weight)

    def losses_of_targets(self, targets, truth, outputs, sample_weight) -> dict[str, Tensor]:
        """The losses, where the targets are known."""
        losses = self._aside.losses
        of_classes = {"labels": targets.labels, "positive": targets.positive}
        of_classes["valid"] = targets.valid
        return {
            "box_loss": box_loss(
                losses["box_loss"],
                self.decoder.coder,
                self.anchors,
                targets,
                truth,
                outputs["box_offsets"],
                sample_weight,
            ),
            "class_loss": losses["class_loss"](
                of_classes, outputs["class_logits"], sample_weight=sample_weight
            ),
        }


def sizes_of(features, data_format):
    """Height and width of each feature map."""
    first = 2 if data_format == "channels_first" else 1
    return [tuple(x.shape[first : first + 2]) for x in features]


def features_of(backbone: keras.Model, levels) -> list:
    """Features of a backbone, of known size, at the levels that a detector asks for."""
    features = pyramid(backbone)
    missing = [level for level in levels if level not in features]
    if missing:
        raise ValueError(
            f"{backbone.name} has no features {', '.join(missing)}; it has {', '.join(features)}."
        )
    return [features[level] for level in levels]


def image_size_of(image, data_format):
    """Height and width of the network's input, which must be known."""
    size = tuple(image.shape[2:]) if data_format == "channels_first" else tuple(image.shape[1:3])
    if None in size:
        raise ValueError(
            f"A detector needs a known height and width, on which its anchors stand; the backbone "
            f"takes {tuple(image.shape)}. Build it with a full input_shape."
        )
    return size
