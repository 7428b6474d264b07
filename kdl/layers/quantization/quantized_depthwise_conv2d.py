"""Depthwise convolution with weights as a file of few bits will hold them."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._deprecation import renamed_attribute
from kdl._typing import Tensor
from kdl.layers.convolution.depthwise_conv2d import DepthwiseConv2D
from kdl.ops.quantization import check_bits, fake_quantize_weights, weight_scales


@keras.saving.register_keras_serializable("kdl")
class QuantizedDepthwiseConv2D(DepthwiseConv2D):
    """Depthwise convolution whose kernel is rounded, each channel at a scale of its own.

    `y = depthwise_conv(x, q(w)) + b` with `q = kdl.ops.fake_quantize_weights`; the gradient passes
    the rounding as if it were not there. The weights are those of `keras.layers.DepthwiseConv2D`,
    in full precision.

    Shapes: `(batch, height, width, C)` → `(batch, height', width', C · depth_multiplier)`.

    Args:
        kernel_size: Integer or pair: height and width of the kernel.
        weight_bits: Integer from 2 to 8. Defaults to 8.
        **kwargs: All other arguments of `DepthwiseConv2D`.

    Raises:
        ValueError: If `weight_bits` is out of range.

    Source: Jacob et al. (arXiv 1712.05877), section 3; per channel: arXiv 1806.08342.

    Example:
        >>> import numpy as np
        >>> layer = QuantizedDepthwiseConv2D(3, padding="same", data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 8, 8, 4), "float32")).shape)
        (1, 8, 8, 4)
    """

    keras_class = None  # not the results of Keras's layer

    def __init__(
        self, kernel_size: int | Sequence[int], weight_bits: int = 8, **kwargs: Any
    ) -> None:
        super().__init__(kernel_size, **kwargs)
        self.weight_bits = check_bits("weight_bits", weight_bits, most=8)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolves `inputs` with the rounded kernel."""
        rounded = fake_quantize_weights(_with_one_channel_axis(kernel), self.weight_bits)
        return super().convolution_op(inputs, ops.reshape(rounded, kernel.shape))

    @property
    def weight_scales(self) -> Tensor:
        """Scale of the quantized kernel for each channel, as `kdl.ops.weight_scales` gives it."""
        return weight_scales(_with_one_channel_axis(self.kernel), self.weight_bits)

    weight_steps = renamed_attribute("weight_steps", "weight_scales")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "weight_bits": self.weight_bits}


def _with_one_channel_axis(kernel):
    """The kernel with one axis for all output channels; of rank 4, so that converters know it."""
    *size, channels, multiplier = kernel.shape
    return ops.reshape(kernel, (*size, 1, channels * multiplier))
