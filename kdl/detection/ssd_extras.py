"""Extra feature maps of SSD, each smaller than the one before."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor
from kdl.detection._levels_block import LevelsBlock
from kdl.layers._chain import build_chain, run_chain
from kdl.layers.convolution.conv2d import Conv2D

_LITE = ((256, 512), (128, 256), (128, 256), (64, 128))


@keras.saving.register_keras_serializable("kdl")
class SSDExtras(LevelsBlock):
    """Extra feature maps of SSD: a 1×1 convolution and a 3×3 one of stride 2, time after time.

    Plain: `relu(conv3×3(relu(conv1×1(x))))`, convolutions with biases. Separable, as SSDLite has
    it: 1×1 convolution, depthwise 3×3, 1×1 convolution, each with batch norm and ReLU6.

    Shapes: a list of features `(batch, height, width, C)`, finest first → the same list and a map
    for each stage, with its second number of channels. Channels are at axis 1 with
    `data_format="channels_first"`.

    Args:
        stages: For each map the channels of its first and of its last convolution. Three numbers
            more, kernel size, strides and pixels of padding, are those of a plain stage's second
            convolution; by default 3, 2 and 1. Defaults to those of SSDLite, 256 → 512,
            128 → 256, 128 → 256 and 64 → 128.
        separable: If convolutions are separable, as above. Defaults to True.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If a stage is none of these.

    Source: Liu et al., SSD (arXiv 1512.02325), section 2.1; Sandler et al., MobileNetV2 (arXiv
    1801.04381), section 6.2.

    Example:
        >>> import numpy as np
        >>> extras = SSDExtras([(8, 16), (8, 16)], data_format="channels_last")
        >>> features = extras([np.zeros((1, 10, 10, 4), "float32")])
        >>> [tuple(x.shape[1:]) for x in features]
        [(10, 10, 4), (5, 5, 16), (3, 3, 16)]
    """

    def __init__(
        self,
        stages: Sequence[Sequence[int]] = _LITE,
        separable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stages = [tuple(map(int, stage)) for stage in stages]
        self.separable = separable
        lengths = {len(stage) for stage in self.stages}
        if not lengths <= ({2} if separable else {2, 5}):
            raise ValueError(
                f"Expected stages of 2 numbers each, plain ones of 2 or 5; received {stages!r} "
                f"with separable={separable}."
            )
        for stage in self.stages:
            check_integer("filters", min(stage[:2]))

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Make the convolutions."""
        shape = self._list_of_shapes(input_shape)[-1]
        self.chains = []
        for number, stage in enumerate(self.stages):
            build = self._separable if self.separable else self._plain
            self.chains.append(build(f"stage{number}", *stage))
            shape = build_chain(self.chains[-1], shape)

    def call(self, inputs: Sequence[Tensor], training: bool | None = None) -> list[Tensor]:
        """Apply the stages to the last features."""
        features = list(inputs)
        for chain in self.chains:
            features.append(run_chain(chain, features[-1], training))
        return features

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> list[Shape]:
        """Shapes of all features."""
        shapes = self._list_of_shapes(input_shape)
        for _, filters, *geometry in self.stages:
            kernel, strides, pixels = geometry or (3, 2, 1)
            shape = list(shapes[-1])
            for axis in (1, 2) if self._factory.axis == -1 else (2, 3):
                side = shape[axis]
                shape[axis] = None if side is None else (side + 2 * pixels - kernel) // strides + 1
            shape[self._factory.axis] = filters
            shapes.append(tuple(shape))
        return shapes

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "stages": self.stages, "separable": self.separable}

    def _plain(self, name, inner, filters, kernel_size=3, strides=2, pixels=1):
        factory = self._factory
        first = factory.conv(inner, 1, f"{name}_conv0", use_bias=True)
        if (kernel_size, strides, pixels) == (3, 2, 1):
            second = factory.conv(filters, 3, f"{name}_conv1", strides=2, use_bias=True)
        else:
            common = {"data_format": self.data_format, "dtype": self.dtype_policy}
            pad = keras.layers.ZeroPadding2D(pixels, name=f"{name}_pad", **common)
            conv = Conv2D(filters, kernel_size, strides, name=f"{name}_conv1", **common)
            second = [pad, conv] if pixels else [conv]
        return [*first, factory.relu(f"{name}_relu0"), *second, factory.relu(f"{name}_relu1")]

    def _separable(self, name, inner, filters):
        factory = self._factory
        convolutions = [
            factory.conv(inner, 1, f"{name}_conv0"),
            factory.depthwise(3, f"{name}_conv1", strides=2),
            factory.conv(filters, 1, f"{name}_conv2"),
        ]
        layers = []
        for number, conv in enumerate(convolutions):
            norm = factory.norm(f"{name}_norm{number}")
            layers += [*conv, norm, factory.relu(f"{name}_relu{number}", max_value=6.0)]
        return layers
