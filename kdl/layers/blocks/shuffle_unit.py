"""Unit of ShuffleNet: grouped 1×1 convolutions and channel shuffle (arXiv 1707.01083)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers.blocks.squeeze_excite import SqueezeExcite
from kdl.layers.convolution.channel_shuffle import ChannelShuffle
from kdl.ops.channels import check_groups
from kdl.ops.depthwise import depthwise_conv

VARIANTS = ("paper", "megvii", "mmpretrain")


@keras.saving.register_keras_serializable("kdl")
class ShuffleUnit(Block):
    """Unit of ShuffleNet: a bottleneck whose 1×1 convolutions are grouped.

    `main` is 1×1 grouped conv to `filters / 4` channels, BN, ReLU → channel shuffle → depthwise
    3×3, BN → 1×1 grouped conv, BN. With stride 1, `y = relu(x + main(x))`. Where the stride is 2 or
    the width changes, `y = concat(average(x), relu(main(x)))`: the first `C` channels are a 3×3
    average of the input, and `main` gives the other `filters − C`.

    The published networks differ in where and how the channels are shuffled, so that their weight
    files do not interchange. The first and the last are one network, with the channels of the
    depthwise convolution in another order:

    - `variant="paper"`: before the depthwise convolution, `[g, n] → transpose → flatten`.
    - `variant="megvii"` (the authors' code): after it and its BN, by the inverse permutation.
    - `variant="mmpretrain"`: after it and its BN, by the paper's permutation.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters)`.
    Channels are at axis 1 with `data_format="channels_first"`.

    Args:
        filters: Channels of the output, a multiple of `4 · groups`.
        groups: Groups of the 1×1 convolutions, a divisor of `C`; 1 for none, and no shuffle.
        strides: 1 (default) or 2.
        group_first: Whether the first 1×1 convolution is grouped too (default). It is not in the
            first unit of the network, whose input is narrow.
        variant: `"paper"` (default), `"megvii"` or `"mmpretrain"`.
        dilation_rate: Dilation of the depthwise convolution and of the average, 1 with strides 2.
            Defaults to 1.
        squeeze_ratio: Reduction of a squeeze-and-excitation after the last BN, or None (default)
            for none.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range, `groups` does not divide the channels, or the
            width is to change and does not grow.

    Source: ShuffleNet (arXiv 1707.01083), section 3.2 and figure 2 (b) and (c).

    Example:
        >>> import numpy as np
        >>> unit = ShuffleUnit(240, groups=3, strides=2, data_format="channels_last")
        >>> tuple(unit(np.zeros((1, 56, 56, 24), "float32")).shape)
        (1, 28, 28, 240)
    """

    def __init__(
        self,
        filters: int,
        groups: int,
        strides: int = 1,
        group_first: bool = True,
        variant: str = "paper",
        dilation_rate: int = 1,
        squeeze_ratio: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        groups = check_integer("groups", groups)
        filters = _checked_filters(filters, groups)
        check_choice("strides", strides, (1, 2))
        check_choice("variant", variant, VARIANTS)
        dilation_rate = check_integer("dilation_rate", dilation_rate)
        if strides == 2 and dilation_rate != 1:
            raise ValueError(f"With strides=2, dilation_rate must be 1; received {dilation_rate}.")
        self.filters = filters
        self.groups = groups
        self.strides = strides
        self.group_first = group_first
        self.variant = variant
        self.dilation_rate = dilation_rate
        self.squeeze_ratio = squeeze_ratio

    def build(self, input_shape: Shape) -> None:
        """Make the sub-layers, whose widths depend on the input's."""
        width = self._width(input_shape)
        self._check_width(width)
        self.adds = self._adds(width)
        self.main = self._main(self.filters if self.adds else self.filters - width)
        build_chain(self.main, input_shape)
        self.relu = self._factory.relu("relu")
        if not self.adds and self.dilation_rate == 1:
            self.pool = self._factory.average_pool("pool", self.strides)
            build_chain(self.pool, input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the unit."""
        changed = run_chain(self.main, inputs, training)
        if self.adds:
            return self.relu(ops.add(inputs, changed))
        passed = self._average(inputs)
        return ops.concatenate([passed, self.relu(changed)], axis=self._factory.axis)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` with `filters` channels and its height and width over the stride."""
        self._check_width(self._width(input_shape))
        return self._resized(input_shape, self.strides, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            filters=self.filters,
            groups=self.groups,
            strides=self.strides,
            group_first=self.group_first,
            variant=self.variant,
            dilation_rate=self.dilation_rate,
            squeeze_ratio=self.squeeze_ratio,
        )
        return config

    def _adds(self, width):
        return self.strides == 1 and width == self.filters

    def _check_width(self, width):
        check_groups(width, self.groups, "the channels of the input")
        if not self._adds(width) and width >= self.filters:
            raise ValueError(
                f"A unit that has strides=2 or changes the width appends channels to its input, "
                f"which must have fewer than filters={self.filters}; it has {width}."
            )

    def _main(self, filters):
        factory, middle = self._factory, self.filters // 4
        shuffle = self._shuffle(middle)
        before = self.variant == "paper"
        layers = [
            *factory.conv(middle, 1, "pointwise1", groups=self.groups if self.group_first else 1),
            factory.norm("pointwise1_bn"),
            factory.relu("pointwise1_relu"),
            *(shuffle if before else []),
            *factory.depthwise(3, "depthwise", self.strides, self.dilation_rate),
            factory.norm("depthwise_bn"),
            *([] if before else shuffle),
            *factory.conv(filters, 1, "pointwise2", groups=self.groups),
            factory.norm("pointwise2_bn"),
        ]
        if self.squeeze_ratio:
            layers.append(
                SqueezeExcite(
                    self.squeeze_ratio,
                    data_format=self.data_format,
                    dtype=self.dtype_policy,
                    name="se",
                )
            )
        return layers

    def _shuffle(self, channels):
        if self.groups == 1:
            return []
        groups = channels // self.groups if self.variant == "megvii" else self.groups
        return [
            ChannelShuffle(
                groups, data_format=self.data_format, dtype=self.dtype_policy, name="shuffle"
            )
        ]

    def _average(self, x):
        """3×3 average; Keras's pooling has no dilation, so a convolution stands in for it there."""
        if self.dilation_rate == 1:
            return run_chain(self.pool, x)
        ninths = np.full((3, 3, x.shape[self._factory.axis], 1), 1 / 9, "float32")
        arguments = {
            "kernel": ops.cast(ninths, x.dtype),
            "padding": "same",
            "data_format": self.data_format,
            "dilation_rate": (self.dilation_rate, self.dilation_rate),
        }
        average = depthwise_conv(x, **arguments)
        if self.padding == "symmetric":
            return average
        # TensorFlow's rule: only the pixels that are there count.
        return ops.divide(average, depthwise_conv(ops.ones_like(x), **arguments))


def _checked_filters(filters, groups):
    filters = check_integer("filters", filters)
    step = 4 * groups
    if filters % step:
        below = filters // step * step
        near = " and ".join(str(n) for n in (below, below + step) if n)
        raise ValueError(
            f"filters must be a multiple of 4·groups, {step}, so that the groups divide the "
            f"bottleneck; received {filters}. Nearest: {near}."
        )
    return filters
