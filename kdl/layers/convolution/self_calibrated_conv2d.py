"""Self-calibrated convolution."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.ops.tiles import average_tiles, image_size, resize_bilinear, resize_nearest


@keras.saving.register_keras_serializable("kdl")
class SelfCalibratedConv2D(Block):
    """Convolution whose result is gated by what the neighborhood looks like from afar.

    `T = average over pooling_ratio × pooling_ratio tiles of x`, `G = σ(x + up(BN(K2 ∗ T)))`,
    `y = BN(K4 ∗ (BN(K3 ∗ x) · G))`. The three kernels are 3×3, without bias, and keep the width;
    `up` enlarges to the size of `x`. There is no activation inside or at the end.

    Rows and columns that fill no tile are left out of `T`. Along a side shorter than
    `pooling_ratio` there is one tile, as long as the side; the reference fails there.

    The paper enlarges bilinearly, the authors' code to the nearest pixel `⌊i · m / n⌋`, as does
    `kdl.ops.tiles.resize_nearest`. Published weights need `"nearest"`.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, C)`;
    channels at axis 1 with `data_format="channels_first"`.

    Args:
        strides: 1 (default) or 2, of the last convolution.
        dilation_rate: Dilation of the three convolutions, 1 with strides 2. Defaults to 1.
        pooling_ratio: Side of a tile in pixels. Defaults to 4.
        upsampling: `"nearest"` (default) or `"bilinear"`.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range.

    Source: Improving Convolutional Networks with Self-Calibrated Convolutions (CVPR 2020),
    section 3.2, and the authors' code.

    Example:
        >>> import numpy as np
        >>> layer = SelfCalibratedConv2D(strides=2, data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 14, 14, 8), "float32")).shape)
        (1, 7, 7, 8)
    """

    def __init__(
        self,
        strides: int | Sequence[int] = 1,
        dilation_rate: int | Sequence[int] = 1,
        pooling_ratio: int = 4,
        upsampling: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("strides", strides, (1, 2))
        dilation_rate = check_integer("dilation_rate", dilation_rate)
        pooling_ratio = check_integer("pooling_ratio", pooling_ratio)
        check_choice("upsampling", upsampling, ("nearest", "bilinear"))
        self.strides = strides
        self.dilation_rate = dilation_rate
        self.pooling_ratio = pooling_ratio
        self.upsampling = upsampling

    def build(self, input_shape: Shape) -> None:
        """Makes the three convolutions, which keep the width of the input."""
        self._width(input_shape)
        self.k2, self.k3 = self._conv_norm("k2", input_shape), self._conv_norm("k3", input_shape)
        self.k4 = self._conv_norm("k4", input_shape, self.strides)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Convolves `inputs`."""
        size = image_size(inputs, self.data_format)
        tiles = average_tiles(inputs, self.pooling_ratio, self.data_format)
        enlarge = resize_nearest if self.upsampling == "nearest" else resize_bilinear
        context = enlarge(run_chain(self.k2, tiles, training), size, self.data_format)
        gate = ops.sigmoid(ops.add(inputs, context))
        gated = ops.multiply(run_chain(self.k3, inputs, training), gate)
        return run_chain(self.k4, gated, training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` with its height and width over the stride."""
        return self._resized(input_shape, self.strides, self._width(input_shape))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            pooling_ratio=self.pooling_ratio,
            upsampling=self.upsampling,
        )
        return config

    def _conv_norm(self, name, shape, strides=1):
        factory = self._factory
        conv = factory.conv(
            self._width(shape), 3, f"{name}_conv", strides, dilation_rate=self.dilation_rate
        )
        layers = [*conv, factory.norm(f"{name}_bn")]
        build_chain(layers, shape)
        return layers
