"""Strip pooling, as a gate."""

import keras
from keras import ops

from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain


@keras.saving.register_keras_serializable("kdl")
class StripPooling(Block):
    """Scales each value by a gate that sees the whole row and the whole column of its pixel.

    Strips one pixel wide average the map: `rows[i] = mean_j x[i, j]` and
    `columns[j] = mean_i x[i, j]`. Each is convolved along itself with 3 taps and batch-normalized,
    and a pixel joins what its row and its column give:

    `y[i, j] = x[i, j] · σ(W · relu(rows'[i] + columns'[j]) + b)`

    with a 1×1 convolution `W`. Unlike a square window, a strip joins what is far apart along one
    axis and leaves out what lies beside it. All convolutions keep the `C` channels; the layer has
    `7·C² + 5·C` trainable weights. The paper calls it the strip pooling module (SPM).

    Shapes: `(batch, height, width, C)` → the same; channels at axis 1 with
    `data_format="channels_first"`.

    Args:
        **kwargs: `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`, as in every
            block of kdl.

    Raises:
        ValueError: If the number of channels is unknown.

    Source: Strip Pooling (arXiv 2003.13328), section 3.2 and figure 2; batch norm and ReLU from the
    authors' code.

    Example:
        >>> import numpy as np
        >>> layer = StripPooling(data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 8, 6, 16), "float32")).shape), layer.count_params()
        ((1, 8, 6, 16), 1936)
    """

    def build(self, input_shape: Shape) -> None:
        """Makes the three convolutions."""
        width, factory = self._width(input_shape), self._factory
        self.down = [*factory.conv(width, (3, 1), "down_conv"), factory.norm("down_bn")]
        self.across = [*factory.conv(width, (1, 3), "across_conv"), factory.norm("across_bn")]
        self.relu = factory.relu("relu")
        [self.gate] = factory.conv(width, 1, "gate", use_bias=True, activation="sigmoid")
        build_chain(self.down, input_shape)
        build_chain(self.across, input_shape)
        self.gate.build(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Gates the values of `inputs`."""
        rows, columns = strips(inputs, self._factory.axis)
        rows = run_chain(self.down, rows, training)
        columns = run_chain(self.across, columns, training)
        gate = self.gate(self.relu(ops.add(rows, columns)))
        return ops.multiply(inputs, gate)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape


def strips(images: Tensor, axis: int) -> Tensor:
    """The mean of each row and that of each column, as images one pixel wide and one high.

    Args:
        images: Tensor of rank 4.
        axis: Axis of the channels, -1 or 1.
    """
    first = 1 if axis == -1 else 2
    return (
        ops.mean(images, axis=first + 1, keepdims=True),
        ops.mean(images, axis=first, keepdims=True),
    )
