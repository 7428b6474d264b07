"""Mask head of Mask R-CNN."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor
from kdl.detection._region_block import RegionBlock
from kdl.layers._chain import build_chain, run_chain
from kdl.layers._layer_factory import LayerFactory


@keras.saving.register_keras_serializable("kdl")
class MaskHead(RegionBlock):
    """Mask head of Mask R-CNN: for each region a small mask of every class.

    ROIAlign → `depth` 3×3 convolutions with ReLU → a 2×2 transposed convolution of stride 2 with
    ReLU → a 1×1 convolution of one logit a class.

    Shapes: a list of features `(batch, height, width, C)`, finest first, and boxes `(batch, R, 4)`,
    xyxy in pixels of the network's input → logits `(batch, R, 2·pool_size, 2·pool_size, K)`,
    float32. Channels of features are at axis 1 with `data_format="channels_first"`.

    Args:
        classes: Number of classes `K`, background not counted.
        strides: Pixels of the input for one of each level's. Defaults to (4, 8, 16, 32).
        pool_size: Cells of ROIAlign, down and across. Defaults to 14.
        depth: Number of convolutions. Defaults to 4.
        filters: Channels of all layers but the last. Defaults to 256.
        norm: If convolutions have a batch norm in place of a bias, as in torchvision's second
            recipe. Defaults to False.
        sampling_ratio: As in `kdl.ops.roi_align`. Defaults to 2.
        aligned: As in `kdl.ops.roi_align`. Defaults to False, as in torchvision; Detectron2 has
            True.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range.

    Source: He et al., Mask R-CNN (arXiv 1703.06870), section 3.

    Example:
        >>> import numpy as np
        >>> head = MaskHead(3, strides=(4, 8), depth=1, filters=8, data_format="channels_last")
        >>> features = [np.ones((1, side, side, 8), "float32") for side in (16, 8)]
        >>> tuple(head(features, np.array([[[0.0, 0, 32, 32], [8, 8, 24, 40]]])).shape)
        (1, 2, 28, 28, 3)
    """

    def __init__(
        self,
        classes: int,
        strides: Sequence[int] = (4, 8, 16, 32),
        pool_size: int = 14,
        depth: int = 4,
        filters: int = 256,
        norm: bool = False,
        sampling_ratio: int | None = 2,
        aligned: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(strides, pool_size, sampling_ratio, aligned, **kwargs)
        self.classes = check_integer("classes", classes)
        self.depth = check_integer("depth", depth, least=0)
        self.filters = check_integer("filters", filters)
        self.norm = norm

    def build(self, features_shape: Sequence[Shape], boxes_shape: Shape) -> None:
        """Make the layers."""
        factory = self._factory
        self.chain = []
        for number in range(self.depth):
            self.chain += factory.conv(
                self.filters,
                3,
                f"conv{number}",
                use_bias=not self.norm,
                kernel_initializer="he_normal",
            )
            self.chain += [factory.norm(f"norm{number}")] if self.norm else []
            self.chain.append(factory.relu(f"relu{number}"))
        upsampling = keras.layers.Conv2DTranspose(
            self.filters,
            2,
            2,
            kernel_initializer="he_normal",
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name="upsampling",
        )
        # The last in float32 under every dtype policy: its outputs are the loss's inputs.
        last = LayerFactory(self.padding, self.data_format, keras.DTypePolicy("float32"))
        self.chain += [upsampling, factory.relu("upsampling_relu")]
        self.chain += last.conv(
            self.classes, 1, "logits", use_bias=True, kernel_initializer="he_normal"
        )
        build_chain(self.chain, self._pooled_shape(features_shape))

    def call(
        self, features: Sequence[Tensor], boxes: Tensor, training: bool | None = None
    ) -> Tensor:
        """Masks of regions."""
        x = run_chain(self.chain, self._pool(features, boxes), training)
        if self._factory.axis == 1:
            x = ops.transpose(x, (0, 2, 3, 1))
        return ops.reshape(x, (-1, boxes.shape[1], *x.shape[1:]))

    def compute_output_shape(self, features_shape: Sequence[Shape], boxes_shape: Shape) -> Shape:
        """Shape of the logits."""
        side = 2 * self.pool_size
        return (*boxes_shape[:2], side, side, self.classes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(classes=self.classes, depth=self.depth, filters=self.filters, norm=self.norm)
        return config
