"""Keras's average pooling, with the same values on every backend."""

import keras
from keras import ops

from kdl.ops.channels import channel_axis


@keras.saving.register_keras_serializable("kdl")
class AveragePooling2D(keras.layers.AveragePooling2D):
    """`keras.layers.AveragePooling2D` whose border is right on every backend.

    With `padding="same"` a window at the border is averaged over the pixels that are there. Keras
    does so on TensorFlow and JAX; on PyTorch, where one side needs more padding than the other
    (such as 3×3 with stride 2 on an even size), it repeats the last pixels and averages those too.
    This layer divides the sum by the right count there; everywhere else it is Keras's layer.

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

    def __init__(self, pool_size, strides=None, padding="valid", **kwargs):
        super().__init__(pool_size, strides, padding, **kwargs)

    @property
    def keras_class(self):
        """Keras's own layer, or None where its values are wrong."""
        wrong = self.padding == "same" and keras.backend.backend() == "torch"
        return None if wrong else keras.layers.AveragePooling2D

    def call(self, inputs):
        """Averages windows of `inputs`."""
        first = 1 if channel_axis(self.data_format) == -1 else 2
        sizes = tuple(inputs.shape)[first : first + 2]
        if self.padding != "same" or keras.backend.backend() != "torch":
            return super().call(inputs)
        pads = list(map(_pads, sizes, self.pool_size, self.strides))
        if all(before == after for before, after in pads):
            return super().call(inputs)
        ones = ops.ones((1, *sizes, 1) if first == 1 else (1, 1, *sizes), inputs.dtype)
        widths = [(0, 0)] * first + pads + [(0, 0)] * (2 - first)
        return ops.divide(self._padded_average(inputs, widths), self._padded_average(ones, widths))

    def _padded_average(self, inputs, widths):
        padded = ops.pad(inputs, widths)
        return ops.average_pool(padded, self.pool_size, self.strides, "valid", self.data_format)


def _pads(size, window, stride):
    """Pixels before and after, so that the output has `⌈size / stride⌉` pixels."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2
