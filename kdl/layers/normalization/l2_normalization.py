"""L2 normalization over channels, with a learned scale."""

from typing import Any

import keras
from keras import ops

from kdl._typing import Shape, Tensor
from kdl.ops._shapes import along_axis
from kdl.ops.channels import channel_axis

_SMALLEST_NORM = 1e-12


@keras.saving.register_keras_serializable("kdl")
class L2Normalization(keras.layers.Layer):
    """Each pixel's features divided by their L2 norm, times a learned scale of each channel.

    `y = γ · x / max(‖x‖₂, 1e-12)`, the norm over the channels of a pixel. SSD brings features of an
    early layer to the size of later ones by it.

    Shapes: `(batch, …, channels)` → the same; channels at axis 1 with
    `data_format="channels_first"`. Computed in float32 at least.

    Args:
        scale: What `γ` starts from. Defaults to 20, as in SSD.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.

    Source: Liu et al., ParseNet (arXiv 1506.04579), section 3.3.

    Example:
        >>> import numpy as np
        >>> layer = L2Normalization(scale=10, data_format="channels_last")
        >>> y = keras.ops.convert_to_numpy(layer(np.array([[[[3.0, 4.0]]]], "float32")))
        >>> y[0, 0, 0].round(4).tolist()
        [6.0, 8.0]
    """

    def __init__(self, scale: float = 20.0, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale
        self.data_format = data_format or keras.config.image_data_format()
        self.autocast = False  # the squares of float16 pass its largest number

    def build(self, input_shape: Shape) -> None:
        """Make the scales."""
        channels = input_shape[channel_axis(self.data_format)]
        start = keras.initializers.Constant(self.scale)
        self.gamma = self.add_weight(shape=(channels,), initializer=start, name="gamma")

    def call(self, inputs: Tensor) -> Tensor:
        """Normalize."""
        axis, rank = channel_axis(self.data_format), len(inputs.shape)
        wide = keras.backend.result_type(self.compute_dtype, "float32")
        x, gamma = ops.cast(inputs, wide), ops.cast(self.gamma, wide)
        norm = ops.sqrt(ops.maximum(ops.sum(x * x, axis, keepdims=True), _SMALLEST_NORM**2))
        gamma = ops.reshape(gamma, along_axis(axis, rank))
        return ops.cast(x / norm * gamma, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "scale": self.scale, "data_format": self.data_format}
