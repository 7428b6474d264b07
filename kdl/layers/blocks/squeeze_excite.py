"""Squeeze-and-excitation channel gates (arXiv 1709.01507)."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block

GATES = ("sigmoid", "hard_sigmoid")


@keras.saving.register_keras_serializable("kdl")
class SqueezeExcite(Block):
    """Scales each channel by a gate that sees the mean of all channels.

    `y = x · σ(W₂ · relu(W₁ · mean(x) + b₁) + b₂)`, with `mean` over height and width, `W₁` from `C`
    to `⌊C / ratio⌋` channels (at least one) and `W₂` back; both are 1×1 convolutions with bias.
    MobileNetV3 has `min(max(z + 3, 0), 6) / 6` in place of `σ(z)`.

    Shapes: `(batch, height, width, C)` → the same; channels at axis 1 with
    `data_format="channels_first"`.

    Args:
        ratio: Reduction of the width between the two convolutions. Defaults to 16.
        filters: Width between them, in place of the ratio. Defaults to None.
        gate: `"sigmoid"` (default) or `"hard_sigmoid"`, as above.
        **kwargs: `data_format`, `name`, `dtype` and `trainable`.

    Raises:
        ValueError: If `ratio` or `filters` is not a positive integer, or `gate` is neither.

    Source: Squeeze-and-Excitation Networks (arXiv 1709.01507), section 3; the hard gate is that of
    Searching for MobileNetV3 (arXiv 1905.02244), section 5.2.

    Example:
        >>> import numpy as np
        >>> layer = SqueezeExcite(4, data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 8, 8, 16), "float32")).shape)
        (1, 8, 8, 16)
    """

    def __init__(
        self,
        ratio: int = 16,
        filters: int | None = None,
        gate: str = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ratio = check_integer("ratio", ratio)
        self.filters = None if filters is None else check_integer("filters", filters)
        self.gate = check_choice("gate", gate, GATES)

    def build(self, input_shape: Shape) -> None:
        """Make the two convolutions."""
        width, factory = self._width(input_shape), self._factory
        self.pool = keras.layers.GlobalAveragePooling2D(
            self.data_format, keepdims=True, dtype=self.dtype_policy, name="pool"
        )
        filters = self.filters or max(width // self.ratio, 1)
        [self.reduce] = factory.conv(filters, 1, "reduce", use_bias=True)
        self.relu = factory.relu("relu")
        [self.expand] = factory.conv(width, 1, "expand", use_bias=True, activation=self.gate)
        pooled = self.pool.compute_output_shape(input_shape)
        self.reduce.build(pooled)
        self.expand.build(self.reduce.compute_output_shape(pooled))

    def call(self, inputs: Tensor) -> Tensor:
        """Gate the channels of `inputs`."""
        gate = self.expand(self.relu(self.reduce(self.pool(inputs))))
        return ops.multiply(inputs, gate)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"ratio": self.ratio, "filters": self.filters, "gate": self.gate}
        return {**super().get_config(), **own}
