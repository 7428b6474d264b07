"""Keras's mask of a tensor, kept where an operation takes a layer's place."""

from typing import Any

import keras

from kdl._typing import Shape, Tensor


@keras.saving.register_keras_serializable("kdl")
class KeepMask(keras.layers.Layer):
    """Gives a tensor the mask of another one.

    A layer's activation passes the mask on to the next layer and to the loss; the operation that it
    becomes in an int8 file does not.

    Shapes: `(masked, x)` → `x`, of whatever shape.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # of the first argument

    def build(self, masked_shape: Shape, x_shape: Shape) -> None:
        """Makes nothing."""

    def call(self, masked: Tensor, x: Tensor) -> Tensor:
        """Gives `x`."""
        return x

    def compute_output_shape(self, masked_shape: Shape, x_shape: Shape) -> Shape:
        """The shape of `x`."""
        return x_shape
