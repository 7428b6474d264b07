"""Inverted residual block of MobileNetV2 and MobileNetV3 (arXiv 1801.04381, 1905.02244)."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers._layer_factory import ACTIVATIONS
from kdl.layers.blocks.separable_block import checked_depthwise
from kdl.layers.blocks.squeeze_excite import SqueezeExcite


@keras.saving.register_keras_serializable("kdl")
class InvertedResidual(Block):
    """Inverted residual block: narrow at its ends and wide in between.

    `f(x)` is 1×1 conv to `expansion · C` channels, BN, ReLU6 → depthwise conv, BN, ReLU6 → 1×1 conv
    to `filters` channels, BN. Nothing follows the last BN: a ReLU would lose what few channels
    hold. `y = x + f(x)` where the stride is 1 and the width stays, `y = f(x)` elsewhere. With
    `expansion=1` the first convolution is left out.

    MobileNetV3 has hard-swish, `x · min(max(x + 3, 0), 6) / 6`, in place of some ReLU6, widths in
    between that are no multiples, and in some blocks a `SqueezeExcite` with a hard sigmoid before
    the last convolution.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters)`;
    channels at axis 1 with `data_format="channels_first"`.

    Args:
        filters: Channels of the output.
        strides: 1 (default) or 2, of the depthwise convolution.
        expansion: Width in between over that of the input. Defaults to 6.
        kernel_size: Size of the depthwise kernel, an odd number. Defaults to 3.
        dilation_rate: Dilation of the depthwise convolution, 1 with strides 2. Defaults to 1.
        inner_filters: Width in between, in place of the expansion; where it is the input's, the
            first convolution is left out. Defaults to None.
        activation: `"relu6"` (default), `"relu"` or `"hard_swish"`.
        squeeze_filters: Width inside of the `SqueezeExcite`; None (default) for a block without.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range.

    Source: MobileNetV2 (arXiv 1801.04381), table 1 and figure 3; Searching for MobileNetV3 (arXiv
    1905.02244), figure 4.

    Example:
        >>> import numpy as np
        >>> block = InvertedResidual(24, strides=2, data_format="channels_last")
        >>> tuple(block(np.zeros((1, 8, 8, 16), "float32")).shape)
        (1, 4, 4, 24)
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        expansion: int = 6,
        kernel_size: int = 3,
        dilation_rate: int = 1,
        inner_filters: int | None = None,
        activation: str = "relu6",
        squeeze_filters: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        filters = check_integer("filters", filters)
        expansion = check_integer("expansion", expansion)
        kernel_size, dilation_rate = checked_depthwise(kernel_size, strides, dilation_rate)
        for name, width in (("inner_filters", inner_filters), ("squeeze_filters", squeeze_filters)):
            if width is not None:
                check_integer(name, width)
        self.filters = filters
        self.strides = strides
        self.expansion = expansion
        self.kernel_size = kernel_size
        self.dilation_rate = dilation_rate
        self.inner_filters = inner_filters
        self.activation = check_choice("activation", activation, ACTIVATIONS)
        self.squeeze_filters = squeeze_filters

    def build(self, input_shape: Shape) -> None:
        """Make the convolutions, whose widths depend on the input's."""
        width, factory = self._width(input_shape), self._factory
        self.residual = self.strides == 1 and width == self.filters
        self.chain = [
            *self._expand(width),
            *factory.depthwise(self.kernel_size, "depthwise", self.strides, self.dilation_rate),
            factory.norm("depthwise_bn"),
            factory.activation(self.activation, "depthwise_act"),
            *self._squeeze(),
            *factory.conv(self.filters, 1, "project"),
            factory.norm("project_bn"),
        ]
        build_chain(self.chain, input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the block."""
        outputs = run_chain(self.chain, inputs, training)
        return ops.add(inputs, outputs) if self.residual else outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` with `filters` channels and its height and width over the stride."""
        return self._resized(input_shape, self.strides, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            filters=self.filters,
            strides=self.strides,
            expansion=self.expansion,
            kernel_size=self.kernel_size,
            dilation_rate=self.dilation_rate,
            inner_filters=self.inner_filters,
            activation=self.activation,
            squeeze_filters=self.squeeze_filters,
        )
        return config

    def _expand(self, width):
        filters = self.inner_filters or self.expansion * width
        if filters == width:
            return []
        factory = self._factory
        return [
            *factory.conv(filters, 1, "expand"),
            factory.norm("expand_bn"),
            factory.activation(self.activation, "expand_act"),
        ]

    def _squeeze(self):
        if self.squeeze_filters is None:
            return []
        layer = SqueezeExcite(
            filters=self.squeeze_filters,
            gate="hard_sigmoid",
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name="squeeze",
        )
        return [layer]
