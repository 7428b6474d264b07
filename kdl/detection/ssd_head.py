"""Head of SSD: class scores and box offsets of every default box."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor
from kdl.detection._levels_block import LevelsBlock
from kdl.layers._chain import build_chain, run_chain
from kdl.layers._layer_factory import LayerFactory


@keras.saving.register_keras_serializable("kdl")
class SSDHead(LevelsBlock):
    """Head of SSD: for each level one convolution for classes and one for boxes.

    Plain: 3×3 convolutions. Separable, as SSDLite has it: a depthwise 3×3 convolution with batch
    norm and ReLU6, then a 1×1 convolution.

    Shapes: a list of features `(batch, height, width, C)`, finest first → a dict of `"box_offsets"`
    `(batch, N, 4)` and `"class_logits"` `(batch, N, 1 + K)`, float32, of all boxes: by level, row,
    column and box of the cell, in the order of `DefaultBoxes`. The first logit is of the
    background. Channels of features are at axis 1 with `data_format="channels_first"`. Heights and
    widths are known.

    Args:
        classes: Number of classes `K`, background not counted.
        boxes_per_cell: Default boxes in a cell of each level.
        separable: As above. Defaults to True.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range, or the features are not of as many levels.

    Source: Liu et al., SSD (arXiv 1512.02325), section 2.1; Sandler et al., MobileNetV2 (arXiv
    1801.04381), section 6.2.

    Example:
        >>> import numpy as np
        >>> head = SSDHead(classes=3, boxes_per_cell=[4, 6], data_format="channels_last")
        >>> outputs = head([np.zeros((2, side, side, 16), "float32") for side in (4, 2)])
        >>> tuple(outputs["class_logits"].shape), tuple(outputs["box_offsets"].shape)
        ((2, 88, 4), (2, 88, 4))
    """

    def __init__(
        self, classes: int, boxes_per_cell: Sequence[int], separable: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.classes = check_integer("classes", classes)
        self.boxes_per_cell = [check_integer("boxes_per_cell", count) for count in boxes_per_cell]
        self.separable = separable

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Make the convolutions."""
        shapes = self._checked(input_shape)
        self.class_chains, self.box_chains = [], []
        for level, (shape, boxes) in enumerate(zip(shapes, self.boxes_per_cell, strict=True)):
            self.class_chains.append(self._chain(f"class{level}", boxes * (1 + self.classes)))
            self.box_chains.append(self._chain(f"box{level}", boxes * 4))
            build_chain(self.class_chains[-1], shape)
            build_chain(self.box_chains[-1], shape)

    def call(self, inputs: Sequence[Tensor], training: bool | None = None) -> dict[str, Tensor]:
        """Apply the convolutions of each level."""
        logits, offsets = [], []
        for level, x in enumerate(inputs):
            scores = run_chain(self.class_chains[level], x, training)
            logits.append(self._rows(scores, self.boxes_per_cell[level], 1 + self.classes))
            boxes = run_chain(self.box_chains[level], x, training)
            offsets.append(self._rows(boxes, self.boxes_per_cell[level], 4))
        return {
            "box_offsets": ops.concatenate(offsets, 1),
            "class_logits": ops.concatenate(logits, 1),
        }

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> dict[str, Shape]:
        """Shapes of the offsets and logits."""
        shapes = self._checked(input_shape)
        cells = [math.prod(self._size(shape)) for shape in shapes]
        count = sum(n * boxes for n, boxes in zip(cells, self.boxes_per_cell, strict=True))
        rows = (shapes[0][0], count)
        return {"box_offsets": (*rows, 4), "class_logits": (*rows, 1 + self.classes)}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            classes=self.classes, boxes_per_cell=self.boxes_per_cell, separable=self.separable
        )
        return config

    def _chain(self, name, filters):
        # The last one in float32 under every dtype policy: its outputs are the losses' inputs.
        last = LayerFactory(self.padding, self.data_format, keras.DTypePolicy("float32"))
        if not self.separable:
            return last.conv(filters, 3, f"{name}_conv", use_bias=True)
        return [
            *self._factory.depthwise(3, f"{name}_depthwise"),
            self._factory.norm(f"{name}_norm"),
            self._factory.relu(f"{name}_relu", max_value=6.0),
            *last.conv(filters, 1, f"{name}_conv", use_bias=True),
        ]

    def _checked(self, shapes):
        shapes = self._list_of_shapes(shapes)
        if len(shapes) != len(self.boxes_per_cell):
            raise ValueError(
                f"Expected features of {len(self.boxes_per_cell)} levels, as boxes_per_cell tells; "
                f"received {len(shapes)}."
            )
        return shapes
