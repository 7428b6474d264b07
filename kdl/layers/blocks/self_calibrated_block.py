"""Self-calibrated bottleneck block of SCNet (CVPR 2020)."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers._shortcut import projection
from kdl.layers.convolution.self_calibrated_conv2d import SelfCalibratedConv2D


@keras.saving.register_keras_serializable("kdl")
class SelfCalibratedBlock(Block):
    """Bottleneck block of two branches, one ordinary and one self-calibrated.

    Branch `a` is 1×1 conv to `width` channels, BN, ReLU → 3×3 conv, BN, ReLU. Branch `b` is the
    same with a `SelfCalibratedConv2D` in place of the 3×3 conv and its BN.
    `y = relu(shortcut(x) + BN(1×1 conv(concat(a, b))))`. The shortcut is `x`, or a 1×1 convolution
    and BN where the stride is 2 or the width changes.

    The networks called v1d move the stride from convolutions to averages: `average_pool` ends both
    branches with a 3×3 average (zeros beyond the border count) that has the stride, and
    `average_shortcut` puts a mean over 2×2 tiles before the shortcut's convolution.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters)`;
    channels at axis 1 with `data_format="channels_first"`.

    Args:
        filters: Channels of the output.
        width: Channels of a branch.
        strides: 1 (default) or 2.
        dilation_rate: Dilation of the 3×3 convolutions, 1 with strides 2. Defaults to 1.
        pooling_ratio: Side of the tiles of the self-calibrated convolution. Defaults to 4.
        upsampling: `"nearest"` (default) or `"bilinear"`; see `SelfCalibratedConv2D`.
        average_pool: Whether a 3×3 average ends both branches and has the stride. Defaults to
            False.
        average_shortcut: Whether the shortcut halves the size by averaging. Defaults to False.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range.

    Source: Improving Convolutional Networks with Self-Calibrated Convolutions (CVPR 2020),
    sections 3.2 and 3.3, and the authors' code.

    Example:
        >>> import numpy as np
        >>> block = SelfCalibratedBlock(32, 4, strides=2, data_format="channels_last")
        >>> tuple(block(np.zeros((1, 14, 14, 16), "float32")).shape)
        (1, 7, 7, 32)
    """

    def __init__(
        self,
        filters: int,
        width: int,
        strides: int = 1,
        dilation_rate: int = 1,
        pooling_ratio: int = 4,
        upsampling: str = "nearest",
        average_pool: bool = False,
        average_shortcut: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        filters = check_integer("filters", filters)
        width = check_integer("width", width)
        check_choice("strides", strides, (1, 2))
        dilation_rate = check_integer("dilation_rate", dilation_rate)
        pooling_ratio = check_integer("pooling_ratio", pooling_ratio)
        check_choice("upsampling", upsampling, ("nearest", "bilinear"))
        self.filters = filters
        self.width = width
        self.strides = strides
        self.dilation_rate = dilation_rate
        self.pooling_ratio = pooling_ratio
        self.upsampling = upsampling
        self.average_pool = average_pool
        self.average_shortcut = average_shortcut

    def build(self, input_shape: Shape) -> None:
        """Make the sub-layers; the shortcut's depend on the width of the input."""
        factory = self._factory
        self.projects = self.strides != 1 or self._width(input_shape) != self.filters
        if self.projects:
            self.projection = projection(factory, self.filters, self.strides, self.average_shortcut)
            build_chain(self.projection, input_shape)
        strides = 1 if self.average_pool else self.strides
        self.branch_a = self._branch_a(strides)
        self.branch_b = self._branch_b(strides)
        for branch in (self.branch_a, self.branch_b):
            shape = list(build_chain(branch, input_shape))
        shape[factory.axis] = 2 * self.width
        self.end = [*factory.conv(self.filters, 1, "conv3"), factory.norm("bn3")]
        build_chain(self.end, shape)
        self.relu3 = factory.relu("relu3")

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the block."""
        a = run_chain(self.branch_a, inputs, training)
        b = run_chain(self.branch_b, inputs, training)
        x = run_chain(self.end, ops.concatenate([a, b], axis=self._factory.axis), training)
        shortcut = run_chain(self.projection, inputs, training) if self.projects else inputs
        return self.relu3(ops.add(x, shortcut))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` with `filters` channels and its height and width over the stride."""
        return self._resized(input_shape, self.strides, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            filters=self.filters,
            width=self.width,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            pooling_ratio=self.pooling_ratio,
            upsampling=self.upsampling,
            average_pool=self.average_pool,
            average_shortcut=self.average_shortcut,
        )
        return config

    def _branch_a(self, strides):
        factory = self._factory
        return [
            *self._start("a"),
            *factory.conv(self.width, 3, "k1_conv", strides, dilation_rate=self.dilation_rate),
            factory.norm("k1_bn"),
            *self._finish("a"),
        ]

    def _branch_b(self, strides):
        calibrated = SelfCalibratedConv2D(
            strides,
            self.dilation_rate,
            self.pooling_ratio,
            self.upsampling,
            padding=self.padding,
            epsilon=self.epsilon,
            momentum=self.momentum,
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name="scconv",
        )
        return [*self._start("b"), calibrated, *self._finish("b")]

    def _start(self, branch):
        factory = self._factory
        return [
            *factory.conv(self.width, 1, f"conv1_{branch}"),
            factory.norm(f"bn1_{branch}"),
            factory.relu(f"relu1_{branch}"),
        ]

    def _finish(self, branch):
        factory = self._factory
        pool = factory.average_pool(f"pool_{branch}", self.strides) if self.average_pool else []
        return [factory.relu(f"relu2_{branch}"), *pool]
