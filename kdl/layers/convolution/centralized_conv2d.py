"""Convolution by kernels of mean zero."""

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.layers.convolution.conv2d import Conv2D


@keras.saving.register_keras_serializable("kdl")
class CentralizedConv2D(Conv2D):
    """A convolution whose kernels are centered: `y = x ∗ (W − mean(W)) + b`.

    The mean of each output channel runs over height, width and input channels. What it convolves
    has, on inputs of one mean, mean zero: this stands in for the subtraction of the mean that
    `MovingAverageBatchNormalization` leaves out.

    Shapes: `(batch, height, width, C)` → `(batch, height', width', filters)`.

    Args:
        filters: Channels of the output.
        kernel_size: Integer or pair: height and width of the kernel.
        **kwargs: All other arguments of `kdl.layers.Conv2D`. Before a norm give `use_bias=False`.

    Source: Towards Stabilizing Batch Statistics in Backward Propagation (arXiv 2001.06838),
    section 4.4.

    Example:
        >>> import numpy as np
        >>> layer = CentralizedConv2D(2, 1, data_format="channels_last")
        >>> y = layer(np.ones((1, 1, 1, 3), "float32"))
        >>> bool(np.allclose(keras.ops.convert_to_numpy(y), 0, atol=1e-6))
        True
    """

    keras_class = None  # Keras has none

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolves `inputs` with `kernel`, centered."""
        mean = ops.mean(kernel, (0, 1, 2), keepdims=True)
        return super().convolution_op(inputs, ops.subtract(kernel, mean))
