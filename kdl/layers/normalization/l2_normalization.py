"""L2 normalization over channels, with a learned scale."""

from typing import Any

import keras
from keras import ops

from kdl._typing import Shape, Tensor
from kdl.ops.channels import channel_axis

_SMALLEST_NORM = 1e-12


@keras.saving.register_keras_serializable("kdl")
class L2Normalization(keras.layers.Layer):
    """Each pixel's features divided by their L2 norm, times a learned scale of each channel.

    `y = γ · x / max(‖x‖₂, 1e-12)`, the norm over the channels of a pixel. SSD brings features of an
    early layer to the size of later ones by it.

    Shapes: `(batch, height, width, channels)` → the same; channels at axis 1 with
    `data_format="channels_first"`.

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
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: Shape) -> None:
        """Make the scales."""
        channels = input_shape[channel_axis(self.data_format)]
        start = keras.initializers.Constant(self.scale)
        self.gamma = self.add_weight(shape=(channels,), initializer=start, name="gamma")

    def call(self, inputs: Tensor) -> Tensor:
        """Normalize."""
        axis = channel_axis(self.data_format)
        x = ops.cast(inputs, "float32")
        norm = ops.sqrt(ops.maximum(ops.sum(x * x, axis, keepdims=True), _SMALLEST_NORM**2))
        shape = (1, 1, 1, -1) if axis == -1 else (1, -1, 1, 1)
        scaled = x / norm * ops.cast(ops.reshape(self.gamma, shape), "float32")
        return ops.cast(scaled, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "scale": self.scale, "data_format": self.data_format}
