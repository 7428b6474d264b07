"""Convolution with weights as a file of few bits will hold them."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._deprecation import renamed_attribute
from kdl._typing import Tensor
from kdl.layers.convolution.grouped_conv2d import GroupedConv2D
from kdl.ops.quantization import check_bits, fake_quantize_weights, weight_scales


@keras.saving.register_keras_serializable("kdl")
class QuantizedConv2D(GroupedConv2D):
    """Convolution whose kernel is rounded, each output channel at a scale of its own.

    `y = conv(x, q(w)) + b` with `q = kdl.ops.fake_quantize_weights`; the gradient passes the
    rounding as if it were not there. The weights are those of `keras.layers.Conv2D`, in full
    precision. `x` and `y` are not rounded; that is what `FakeQuantize` is for.

    Shapes: `(batch, height, width, C)` → `(batch, height', width', filters)`.

    Args:
        filters: Channels of the output.
        kernel_size: Integer or pair: height and width of the kernel.
        groups: Number of groups. Defaults to 1.
        weight_bits: Integer from 2 to 8. Defaults to 8.
        **kwargs: All other arguments of `GroupedConv2D`.

    Raises:
        ValueError: If `weight_bits` is out of range, or `groups` does not divide the channels.

    Source: Jacob et al. (arXiv 1712.05877), section 3; per channel: arXiv 1806.08342.

    Example:
        >>> import numpy as np
        >>> layer = QuantizedConv2D(6, 3, padding="same", data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 8, 8, 4), "float32")).shape)
        (1, 8, 8, 6)
    """

    keras_class = None  # not the results of Keras's layer

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        groups: int = 1,
        weight_bits: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, groups, **kwargs)
        self.weight_bits = check_bits("weight_bits", weight_bits, most=8)

    def _prepare(self, kernel):
        return fake_quantize_weights(kernel, self.weight_bits)

    @property
    def weight_scales(self) -> Tensor:
        """Scale of the quantized kernel for each filter, as `kdl.ops.weight_scales` gives it."""
        return weight_scales(self.kernel, self.weight_bits)

    weight_steps = renamed_attribute("weight_steps", "weight_scales")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "weight_bits": self.weight_bits}
