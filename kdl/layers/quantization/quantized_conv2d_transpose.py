"""Transposed convolution with weights as a file of few bits will hold them."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._deprecation import renamed_attribute
from kdl._typing import Tensor
from kdl.ops.channels import channel_axis
from kdl.ops.quantization import check_bits, fake_quantize_weights, weight_scales


@keras.saving.register_keras_serializable("kdl")
class QuantizedConv2DTranspose(keras.layers.Conv2DTranspose):
    """Transposed convolution whose kernel is rounded, at one scale.

    `y = conv_transpose(x, q(w)) + b` with `q = kdl.ops.fake_quantize_weights(axis=None)`; the
    gradient passes the rounding as if it were not there. The weights are those of
    `keras.layers.Conv2DTranspose`, in full precision. The converter to TFLite does not take a
    scale for each channel here.

    Shapes: `(batch, height, width, C)` → `(batch, height', width', filters)`.

    Args:
        filters: Channels of the output.
        kernel_size: Integer or pair: height and width of the kernel.
        weight_bits: Integer from 2 to 8. Defaults to 8.
        **kwargs: All other arguments of `keras.layers.Conv2DTranspose`.

    Raises:
        ValueError: If `weight_bits` is out of range.

    Source: Jacob et al. (arXiv 1712.05877), section 3.

    Example:
        >>> import numpy as np
        >>> layer = QuantizedConv2DTranspose(6, 2, strides=2, data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 4, 4, 3), "float32")).shape)
        (1, 8, 8, 6)
    """

    def __init__(
        self, filters: int, kernel_size: int | Sequence[int], weight_bits: int = 8, **kwargs: Any
    ) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.weight_bits = check_bits("weight_bits", weight_bits, most=8)

    def call(self, inputs: Tensor) -> Tensor:
        """Convolves `inputs` with the rounded kernel, transposed."""
        outputs = ops.conv_transpose(
            inputs,
            fake_quantize_weights(self.kernel, self.weight_bits, axis=None),
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        if self.use_bias:
            last = channel_axis(self.data_format) == -1
            outputs = outputs + ops.reshape(self.bias, (1, 1, 1, -1) if last else (1, -1, 1, 1))
        return outputs if self.activation is None else self.activation(outputs)

    @property
    def weight_scales(self) -> Tensor:
        """Scale of the quantized kernel, as `kdl.ops.weight_scales` gives it."""
        return weight_scales(self.kernel, self.weight_bits, axis=None)

    weight_steps = renamed_attribute("weight_steps", "weight_scales")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "weight_bits": self.weight_bits}
