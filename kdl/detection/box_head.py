"""Box head of Faster R-CNN."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor
from kdl.detection._region_block import RegionBlock
from kdl.layers._chain import build_chain, run_chain


@keras.saving.register_keras_serializable("kdl")
class BoxHead(RegionBlock):
    """Box head of Faster R-CNN: class scores of regions, and offsets of a box of each class.

    ROIAlign → `depth` 3×3 convolutions with batch norm and ReLU → dense layers of `units` with
    ReLU → a dense layer of `1 + K` logits, and one of 4 offsets for each class.

    Shapes: a list of features `(batch, height, width, C)`, finest first, and boxes `(batch, R, 4)`,
    xyxy in pixels of the network's input → a dict of `"box_offsets"` `(batch, R, K, 4)` and
    `"class_logits"` `(batch, R, 1 + K)`, float32. The first logit is of the background. Channels of
    features are at axis 1 with `data_format="channels_first"`.

    Args:
        classes: Number of classes `K`, background not counted.
        strides: Pixels of the input for one of each level's. Defaults to (4, 8, 16, 32).
        pool_size: Cells of ROIAlign, down and across. Defaults to 7.
        depth: Number of convolutions. Defaults to 0; torchvision's second recipe has 4.
        filters: Their channels. Defaults to 256.
        units: Sizes of the dense layers. Defaults to (1024, 1024).
        sampling_ratio: As in `kdl.ops.roi_align`. Defaults to 2.
        aligned: As in `kdl.ops.roi_align`. Defaults to False, as in torchvision; Detectron2 has
            True.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range.

    Source: Lin et al., Feature Pyramid Networks (arXiv 1612.03144), section 4.2.

    Example:
        >>> import numpy as np
        >>> head = BoxHead(classes=3, strides=(4, 8), units=(16,), data_format="channels_last")
        >>> features = [np.ones((1, side, side, 8), "float32") for side in (16, 8)]
        >>> outputs = head(features, np.array([[[0.0, 0, 32, 32], [8, 8, 24, 40]]]))
        >>> {key: tuple(x.shape) for key, x in outputs.items()}
        {'box_offsets': (1, 2, 3, 4), 'class_logits': (1, 2, 4)}
    """

    def __init__(
        self,
        classes: int,
        strides: Sequence[int] = (4, 8, 16, 32),
        pool_size: int = 7,
        depth: int = 0,
        filters: int = 256,
        units: Sequence[int] = (1024, 1024),
        sampling_ratio: int | None = 2,
        aligned: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(strides, pool_size, sampling_ratio, aligned, **kwargs)
        self.classes = check_integer("classes", classes)
        self.depth = check_integer("depth", depth, least=0)
        self.filters = check_integer("filters", filters)
        self.units = tuple(check_integer("units", number) for number in units)

    def build(self, features_shape: Sequence[Shape], boxes_shape: Shape) -> None:
        """Make the layers."""
        shape = self._pooled_shape(features_shape)
        self.convolutions = []
        for number in range(self.depth):
            self.convolutions += [
                *self._factory.conv(self.filters, 3, f"conv{number}"),
                self._factory.norm(f"norm{number}"),
                self._factory.relu(f"relu{number}"),
            ]
        shape = build_chain(self.convolutions, shape)
        # Pixels before channels in either format, whatever Keras's own setting is.
        flatten = keras.layers.Flatten(self.data_format, dtype=self.dtype_policy, name="flatten")
        self.dense = [flatten]
        for number, units in enumerate(self.units):
            self.dense.append(
                keras.layers.Dense(units, "relu", dtype=self.dtype_policy, name=f"fc{number}")
            )
        shape = build_chain(self.dense, shape)
        self.class_logits = self._last(1 + self.classes, "class_logits", 0.01, shape)
        self.box_offsets = self._last(4 * self.classes, "box_offsets", 0.001, shape)

    def call(
        self, features: Sequence[Tensor], boxes: Tensor, training: bool | None = None
    ) -> dict[str, Tensor]:
        """Classify regions, and refine their boxes."""
        x = run_chain(self.convolutions, self._pool(features, boxes), training)
        for layer in self.dense:
            x = layer(x)
        count = boxes.shape[1]
        return {
            "box_offsets": ops.reshape(self.box_offsets(x), (-1, count, self.classes, 4)),
            "class_logits": ops.reshape(self.class_logits(x), (-1, count, 1 + self.classes)),
        }

    def compute_output_shape(
        self, features_shape: Sequence[Shape], boxes_shape: Shape
    ) -> dict[str, Shape]:
        """Shapes of offsets and logits."""
        rows = tuple(boxes_shape[:2])
        return {
            "box_offsets": (*rows, self.classes, 4),
            "class_logits": (*rows, 1 + self.classes),
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            classes=self.classes, depth=self.depth, filters=self.filters, units=self.units
        )
        return config

    def _last(self, units, name, deviation, shape):
        """A dense layer in float32 under every dtype policy: its outputs are losses' inputs."""
        start = keras.initializers.RandomNormal(stddev=deviation)
        layer = keras.layers.Dense(units, kernel_initializer=start, dtype="float32", name=name)
        layer.build(shape)
        return layer
