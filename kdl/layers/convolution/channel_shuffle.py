"""The channel shuffle of ShuffleNet as a layer."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor
from kdl.ops.channels import channel_axis, channel_shuffle, check_divisible


@keras.saving.register_keras_serializable("kdl")
class ChannelShuffle(keras.layers.Layer):
    """Interleaves the channels of `groups` groups, so that the next grouped layer sees all of them.

    `[g, n] → transpose → flatten` on the channels: channel `a·n + b` becomes channel
    `b·groups + a`. `mode="conv1x1"` gives the same result by a 1×1 convolution with a constant
    permutation matrix, for accelerators that have no transpose (Edge TPU compilers before 16);
    elsewhere it is slower.

    Shapes: `(batch, height, width, C)` → the same; channels at axis 1 with
    `data_format="channels_first"`.

    Args:
        groups: Number of groups, a divisor of the number of channels.
        mode: `"reshape"` (default) or `"conv1x1"`.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.

    Raises:
        ValueError: If `mode` is unknown, or `groups` does not divide the channels.

    Source: ShuffleNet (arXiv 1707.01083), section 3.1.

    Example:
        >>> import numpy as np
        >>> x = np.arange(6, dtype="float32").reshape(1, 1, 1, 6)
        >>> y = ChannelShuffle(3, data_format="channels_last")(x)
        >>> [int(c) for c in y[0, 0, 0]]
        [0, 2, 4, 1, 3, 5]
    """

    def __init__(
        self, groups: int, mode: str = "reshape", data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if mode not in ("reshape", "conv1x1"):
            raise ValueError(f'mode must be "reshape" or "conv1x1"; received {mode!r}.')
        self.groups = check_integer("groups", groups)
        self.mode = mode
        self.data_format = data_format or keras.config.image_data_format()
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: Shape) -> None:
        """Checks that the groups fit the channels."""
        check_divisible(input_shape[channel_axis(self.data_format)], self.groups, "groups")

    def call(self, inputs: Tensor) -> Tensor:
        """Shuffles the channels of `inputs`."""
        if self.mode == "reshape":
            return channel_shuffle(inputs, self.groups, self.data_format)
        channels = inputs.shape[channel_axis(self.data_format)]
        kernel = ops.cast(_permutation_kernel(channels, self.groups), inputs.dtype)
        return ops.conv(inputs, kernel, padding="valid", data_format=self.data_format)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(groups=self.groups, mode=self.mode, data_format=self.data_format)
        return config


def _permutation_kernel(channels, groups):
    """1×1 kernel that carries input channel `order[i]` to output channel `i`."""
    order = np.arange(channels).reshape(groups, -1).T.ravel()
    return np.eye(channels, dtype="float32")[:, order][None, None]
