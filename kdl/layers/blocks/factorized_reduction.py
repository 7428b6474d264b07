"""Factorized reduction of a feature map, from NASNet (arXiv 1707.07012)."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain


@keras.saving.register_keras_serializable("kdl")
class FactorizedReduction(Block):
    """Halves height and width by two 1×1 convolutions with stride 2, one pixel apart.

    `y = BN(concat(W₁ · x[::2, ::2], W₂ · x[1::2, 1::2]))`, with a row and a column of zeros after
    the last ones where `x[1::2, 1::2]` is shorter. `W₁` gives `⌊filters / 2⌋` channels, `W₂` the
    rest.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / 2⌉, ⌈width / 2⌉, filters)`; channels at
    axis 1 with `data_format="channels_first"`.

    Args:
        filters: Channels of the output, at least 2.
        **kwargs: `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`, as in every
            block of kdl.

    Raises:
        ValueError: If `filters` is not an integer of at least 2.

    Source: NASNet (arXiv 1707.07012), appendix A.4; tensorflow/models, slim, `nasnet_utils`.

    Example:
        >>> import numpy as np
        >>> layer = FactorizedReduction(8, data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 7, 7, 4), "float32")).shape)
        (1, 4, 4, 8)
    """

    def __init__(
        self,
        filters: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        filters = check_integer("filters", filters)
        if filters < 2:
            raise ValueError(f"filters must be at least 2, one a path; received {filters}.")
        self.filters = filters

    def build(self, input_shape: Shape) -> None:
        """Make the two paths."""
        factory, half = self._factory, self.filters // 2
        common = {"data_format": self.data_format, "dtype": self.dtype_policy}
        self.path1 = factory.conv(half, 1, "path1_conv", strides=2)
        self.path2 = [
            keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name="path2_pad", **common),
            keras.layers.Cropping2D(((1, 0), (1, 0)), name="path2_crop", **common),
            *factory.conv(self.filters - half, 1, "path2_conv", strides=2),
        ]
        self.norm = factory.norm("bn")
        for path in (self.path1, self.path2):
            build_chain(path, input_shape)
        self.norm.build(self.compute_output_shape(input_shape))

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Reduce `inputs`."""
        paths = [run_chain(path, inputs) for path in (self.path1, self.path2)]
        return self.norm(ops.concatenate(paths, axis=self._factory.axis), training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` with `filters` channels and half its height and width, rounded up."""
        return self._resized(input_shape, 2, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "filters": self.filters}
