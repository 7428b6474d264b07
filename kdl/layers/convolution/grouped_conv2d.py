"""Keras's grouped convolution, carried out in the fastest form."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor
from kdl.ops.channels import channel_axis, check_groups
from kdl.ops.grouped import LOWERINGS, grouped_conv
from kdl.ops.lowering import check_lowering


@keras.saving.register_keras_serializable("kdl")
class GroupedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D(groups=…)` that is fast to train on every backend.

    The same weights (`(kernel_height, kernel_width, C / groups, filters)`) and results as Keras's
    layer, so that weight files interchange; only the way of computing differs. On TensorFlow and
    JAX, where the gradient of a native grouped convolution is some 200 times slower on a CPU, it is
    carried out as several plain convolutions.

    A `.tflite` file holds one CONV_2D if the channels of a group are a multiple of 4, in and out.
    Otherwise mobile GPUs compute it wrong (`kdl.ops.mobile_gpu_safe`), and the file holds a split,
    plain convolutions and a concatenation.

    Shapes: `(batch, height, width, C)` → `(batch, height', width', filters)`.

    Args:
        filters: Channels of the output.
        kernel_size: Integer or pair: height and width of the kernel.
        groups: Number of groups, a divisor of `C` and of `filters`.
        strides: Integer or pair. Defaults to 1.
        padding: `"valid"` (default) or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        dilation_rate: Integer or pair. Defaults to 1.
        lowering: `"auto"` (default), `"native"`, `"split"` or `"device"`; see
            `kdl.ops.grouped_conv`.
        **kwargs: All other arguments of `keras.layers.Conv2D`: `activation`, `use_bias`,
            initializers, regularizers, constraints, `name`, `dtype`.

    Raises:
        ValueError: If `lowering` is unknown, or `groups` does not divide the channels; the nearest
            numbers that fit are named.

    Source: ResNeXt (arXiv 1611.05431), section 3.

    Example:
        >>> import numpy as np
        >>> layer = GroupedConv2D(64, 3, groups=32, padding="same", data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 8, 8, 128), "float32")).shape)
        (1, 8, 8, 64)
    """

    keras_class = keras.layers.Conv2D  # the same weights and results

    # Function of the kernel that gives what is convolved; for layers that quantize it.
    _prepare = None

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        groups: int,
        strides: int | Sequence[int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        lowering: str = "auto",
        **kwargs: Any,
    ) -> None:
        filters = check_integer("filters", filters)
        groups = check_groups(filters, groups, "filters")
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
            **kwargs,
        )
        self.lowering = check_lowering(lowering, LOWERINGS)

    def build(self, input_shape: Shape) -> None:
        """Makes the kernel and the bias."""
        channels = input_shape[channel_axis(self.data_format)]
        check_groups(channels, self.groups, "the channels of the input")
        super().build(input_shape)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolves `inputs` with `kernel`."""
        return grouped_conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            lowering=self.lowering,
            prepare=self._prepare,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "lowering": self.lowering}
