"""Detections of a detector that scores every anchor."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._checks import check_choice
from kdl._typing import Tensor
from kdl.detection._part import as_config, as_part
from kdl.detection.anchor_generator import AnchorGenerator
from kdl.detection.box_coder import BoxCoder
from kdl.detection.default_boxes import DefaultBoxes
from kdl.detection.detection_selector import DetectionSelector
from kdl.detection.linear_box_coder import LinearBoxCoder

ACTIVATIONS = ("sigmoid", "softmax")


@keras.saving.register_keras_serializable("kdl")
class DenseDetections(keras.layers.Layer):
    """Detections of the scores and offsets of all anchors: last layer of RetinaNet, FCOS and SSD.

    Offsets become boxes, logits become probabilities, and a `DetectionSelector` chooses. Where the
    head tells a center-ness, scores are `√(p(class) · p(center-ness))`.

    Shapes: a dict of `"box_offsets"` `(batch, N, 4)`, `"class_logits"` `(batch, N, K)` and, of
    FCOS, `"centerness_logits"` `(batch, N)` → the dict of `DetectionSelector`. With softmax the
    first of the logits is of the background.

    Args:
        anchors: An `AnchorGenerator` or `DefaultBoxes`, or its serialized form.
        coder: The `BoxCoder` or `LinearBoxCoder`, likewise.
        selector: The `DetectionSelector`, likewise.
        image_size: Height and width of the network's input.
        grids: Height and width of each level's features.
        activation: `"sigmoid"` (default) or `"softmax"`.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> anchors = AnchorGenerator([(8,)], ratios=(1.0,))
        >>> layer = DenseDetections(anchors, BoxCoder(), DetectionSelector(), (16, 16), [(2, 2)])
        >>> logits = np.full((1, 4, 3), -9.0, "float32")
        >>> logits[0, 3, 1] = 2.0
        >>> found = layer({"box_offsets": np.zeros((1, 4, 4), "float32"), "class_logits": logits})
        >>> int(found["labels"][0, 0]), [float(side) for side in found["boxes"][0, 0]]
        (1, [4.0, 4.0, 12.0, 12.0])
    """

    def __init__(
        self,
        anchors: AnchorGenerator | DefaultBoxes | dict,
        coder: BoxCoder | LinearBoxCoder | dict,
        selector: DetectionSelector | dict,
        image_size: tuple[int, int],
        grids: Sequence[tuple[int, int]],
        activation: str = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.anchors, self.coder, self.selector = map(as_part, (anchors, coder, selector))
        height, width = image_size
        self.image_size = (height, width)
        self.grids = [tuple(grid) for grid in grids]
        self.activation = check_choice("activation", activation, ACTIVATIONS)
        self.boxes = self.anchors.placed(self.image_size, self.grids)
        cells = np.prod(self.grids, axis=1)
        self.levels = (cells * self.anchors.per_cell).tolist()

    def call(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Decode and select."""
        boxes = self.coder.decode(ops.cast(inputs["box_offsets"], "float32"), self.boxes)
        return self.selector(self.scores(inputs), boxes, self.image_size, self.levels)

    def scores(self, inputs: dict[str, Tensor]) -> Tensor:
        """Scores of the classes `(batch, N, K)`, without background."""
        logits = ops.cast(inputs["class_logits"], "float32")
        if self.activation == "softmax":
            scores = ops.softmax(logits)[..., 1:]
        else:
            scores = ops.sigmoid(logits)
        if "centerness_logits" not in inputs:
            return scores
        centered = ops.sigmoid(ops.cast(inputs["centerness_logits"], "float32"))
        return ops.sqrt(scores * ops.expand_dims(centered, -1))

    def compute_output_spec(self, inputs: dict[str, Tensor]) -> dict[str, keras.KerasTensor]:
        """The detections of symbolic outputs."""
        return self.selector.output_spec(inputs["class_logits"].shape[0])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            anchors=as_config(self.anchors),
            coder=as_config(self.coder),
            selector=as_config(self.selector),
            image_size=self.image_size,
            grids=self.grids,
            activation=self.activation,
        )
        return config
