"""Depthwise separable convolution block of MobileNet (arXiv 1704.04861)."""

from typing import Any

import keras

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain

# Name of the activation → value at which it is cut off.
RELU_LIMITS = {"relu6": 6.0, "relu": None}


@keras.saving.register_keras_serializable("kdl")
class SeparableBlock(Block):
    """Depthwise separable convolution: each channel in space, then all channels at each place.

    `y = act(BN(pointwise(act(BN(depthwise(x))))))`, where `depthwise` filters every channel with a
    kernel of its own and `pointwise` is a 1×1 convolution. Compared with one full convolution this
    needs `1 / filters + 1 / kernel_size²` of the multiply-adds.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters)`;
    channels at axis 1 with `data_format="channels_first"`.

    Args:
        filters: Channels of the output.
        strides: 1 (default) or 2, of the depthwise convolution.
        kernel_size: Size of the depthwise kernel, an odd number. Defaults to 3.
        dilation_rate: Dilation of the depthwise convolution, 1 with strides 2. Defaults to 1.
        activation: `"relu6"` (default), `min(max(x, 0), 6)`, or `"relu"`.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range.

    Source: MobileNets (arXiv 1704.04861), section 3.1 and figure 3.

    Example:
        >>> import numpy as np
        >>> block = SeparableBlock(64, strides=2, data_format="channels_last")
        >>> tuple(block(np.zeros((1, 8, 8, 32), "float32")).shape)
        (1, 4, 4, 64)
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        kernel_size: int = 3,
        dilation_rate: int = 1,
        activation: str = "relu6",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        filters = check_integer("filters", filters)
        kernel_size, dilation_rate = checked_depthwise(kernel_size, strides, dilation_rate)
        check_choice("activation", activation, tuple(RELU_LIMITS))
        self.filters = filters
        self.strides = strides
        self.kernel_size = kernel_size
        self.dilation_rate = dilation_rate
        self.activation = activation

    def build(self, input_shape: Shape) -> None:
        """Make the two convolutions, their batch norms and activations."""
        self._width(input_shape)
        factory, limit = self._factory, RELU_LIMITS[self.activation]
        self.chain = [
            *factory.depthwise(self.kernel_size, "depthwise", self.strides, self.dilation_rate),
            factory.norm("depthwise_bn"),
            factory.relu("depthwise_relu", limit),
            *factory.conv(self.filters, 1, "pointwise"),
            factory.norm("pointwise_bn"),
            factory.relu("pointwise_relu", limit),
        ]
        build_chain(self.chain, input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the block."""
        return run_chain(self.chain, inputs, training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` with `filters` channels and its height and width over the stride."""
        return self._resized(input_shape, self.strides, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            filters=self.filters,
            strides=self.strides,
            kernel_size=self.kernel_size,
            dilation_rate=self.dilation_rate,
            activation=self.activation,
        )
        return config


def checked_depthwise(kernel_size: int, strides: int, dilation_rate: int) -> tuple[int, int]:
    """Kernel size and dilation of a depthwise convolution that halves or keeps the size."""
    kernel_size = check_integer("kernel_size", kernel_size)
    if kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size must be odd, such as {kernel_size - 1} or {kernel_size + 1}; received "
            f"{kernel_size}."
        )
    check_choice("strides", strides, (1, 2))
    dilation_rate = check_integer("dilation_rate", dilation_rate)
    if strides > 1 and dilation_rate > 1:
        raise ValueError(
            f"A convolution has strides or dilation, not both: set one of them to 1; received "
            f"strides={strides}, dilation_rate={dilation_rate}."
        )
    return kernel_size, dilation_rate
