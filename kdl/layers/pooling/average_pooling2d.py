"""Keras's average pooling, with the same values on every backend."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._typing import Tensor
from kdl.ops.pooling import average_pool


@keras.saving.register_keras_serializable("kdl")
class AveragePooling2D(keras.layers.AveragePooling2D):
    """`keras.layers.AveragePooling2D` whose border is right on every backend.

    With `padding="same"` a window at the border is averaged over the pixels that are there. Keras
    does so on TensorFlow and JAX; on PyTorch, where one side needs more padding than the other
    (such as 3×3 with stride 2 on an even size), it repeats the last pixels and averages those too.
    This layer divides the sum by the right count there, and makes no copy of images with their
    channels last; on the other backends it is Keras's layer.

    Shapes: `(batch, height, width, C)` → `(batch, height', width', C)`; channels at axis 1 with
    `data_format="channels_first"`.

    Args:
        pool_size: Integer or pair: height and width of the window.
        strides: Integer or pair; `pool_size` by default.
        padding: `"valid"` (default) or `"same"`.
        **kwargs: `data_format`, `name` and `dtype`, as in Keras.

    Source: tensorflow.org, `tf.nn.avg_pool2d`, padding `"SAME"`.

    Example:
        >>> import numpy as np
        >>> layer = AveragePooling2D(3, 2, padding="same", data_format="channels_last")
        >>> x = np.arange(4, dtype="float32").reshape(1, 2, 2, 1)
        >>> float(layer(x)[0, 0, 0, 0])
        1.5
    """

    def __init__(
        self,
        pool_size: int | Sequence[int],
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, **kwargs)

    @property
    def keras_class(self) -> type[keras.layers.Layer] | None:
        """Keras's own layer, or None where its values are wrong."""
        wrong = self.padding == "same" and keras.backend.backend() == "torch"
        return None if wrong else keras.layers.AveragePooling2D

    def call(self, inputs: Tensor) -> Tensor:
        """Averages windows of `inputs`."""
        return average_pool(inputs, self.pool_size, self.strides, self.padding, self.data_format)
