"""Keras's convolution, carried out in the fastest form."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._typing import Tensor
from kdl.ops.convolution import LOWERINGS, conv
from kdl.ops.lowering import check_lowering


@keras.saving.register_keras_serializable("kdl")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that is fast to train on every backend.

    The same arguments, weights (`(kernel_height, kernel_width, C, filters)`) and results as Keras's
    layer, so that weight files interchange; only the way of computing differs. On JAX without an
    accelerator a 1×1 convolution is a product of matrices, which is two to seven times faster than
    XLA's own operation there; on PyTorch images with their channels last are not copied. A
    `.tflite` file always holds one plain CONV_2D.

    Shapes: `(batch, height, width, C)` → `(batch, height', width', filters)`.

    Args:
        filters: Channels of the output.
        kernel_size: Integer or pair: height and width of the kernel.
        strides: Integer or pair. Defaults to 1.
        padding: `"valid"` (default) or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        dilation_rate: Integer or pair. Defaults to 1.
        groups: 1; see `GroupedConv2D` for more.
        lowering: `"auto"` (default), `"native"` or `"matmul"`; see `kdl.ops.conv`.
        **kwargs: All other arguments of `keras.layers.Conv2D`: `activation`, `use_bias`,
            initializers, regularizers, constraints, `name`, `dtype`.

    Raises:
        ValueError: If `lowering` is unknown, or `groups` is not 1.

    Source: Network in Network (arXiv 1312.4400), section 3.1, for 1×1 kernels.

    Example:
        >>> import numpy as np
        >>> layer = Conv2D(6, 1, data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 8, 8, 4), "float32")).shape)
        (1, 8, 8, 6)
    """

    keras_class = keras.layers.Conv2D  # the same weights and results

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        groups: int = 1,
        lowering: str = "auto",
        **kwargs: Any,
    ) -> None:
        if groups != 1:
            raise ValueError(
                f"Conv2D has one group; received groups={groups}. Use kdl.layers.GroupedConv2D."
            )
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            **kwargs,
        )
        self.lowering = check_lowering(lowering, LOWERINGS)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolves `inputs` with `kernel`."""
        return conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            lowering=self.lowering,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "lowering": self.lowering}
