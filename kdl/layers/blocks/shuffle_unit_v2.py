"""Unit of ShuffleNet V2: channel split and channel shuffle (arXiv 1807.11164)."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers.blocks.squeeze_excite import SqueezeExcite
from kdl.layers.convolution.channel_shuffle import ChannelShuffle
from kdl.ops.channels import channel_split


@keras.saving.register_keras_serializable("kdl")
class ShuffleUnitV2(Block):
    """Unit of ShuffleNet V2: half of the channels pass, the other half is transformed.

    With stride 1, `x → (a, b)` by channel split, `y = concat(a, main(b))`. Where the stride is 2 or
    the width changes, both branches see all channels: `y = concat(projection(x), main(x))`.
    `main` is 1×1 conv, BN, ReLU → depthwise 3×3, BN → 1×1 conv, BN, ReLU;
    `projection` is depthwise 3×3, BN → 1×1 conv, BN, ReLU.

    The two published networks differ in where the channels are mixed:

    - `variant="torchvision"`: a channel shuffle of two groups ends each unit; where the width
      changes both branches give `filters / 2` channels.
    - `variant="megvii"` (the authors' code): nothing ends the unit; the next one passes its even
      channels and transforms its odd ones. Where the width changes the projection keeps the width
      of the input and the main branch gives the rest.

    The deep networks of the paper add two things to `main`: with `squeeze_ratio` a
    `SqueezeExcite` after its last batch norm, and with `residual=True` its own input before its
    last ReLU (in units that split).

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters)`.
    Channels are at axis 1 with `data_format="channels_first"`.

    Args:
        filters: Channels of the output, an even number.
        strides: 1 (default) or 2.
        variant: `"torchvision"` (default) or `"megvii"`.
        dilation_rate: Dilation of the depthwise convolutions, 1 with strides 2. Defaults to 1.
        residual: Whether units that split add their input to their main branch.
        squeeze_ratio: Reduction of the squeeze-and-excitation, or None (default) for none.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range, or `variant="megvii"` is to lose channels.

    Source: ShuffleNet V2 (arXiv 1807.11164), figure 3 (c) and (d), figure 5 and appendix.

    Example:
        >>> import numpy as np
        >>> unit = ShuffleUnitV2(48, strides=2, data_format="channels_last")
        >>> tuple(unit(np.zeros((1, 28, 28, 24), "float32")).shape)
        (1, 14, 14, 48)
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        variant: str = "torchvision",
        dilation_rate: int = 1,
        residual: bool = False,
        squeeze_ratio: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        filters = check_integer("filters", filters)
        if filters % 2:
            raise ValueError(f"filters must be an even positive integer; received {filters!r}.")
        check_choice("strides", strides, (1, 2))
        check_choice("variant", variant, ("torchvision", "megvii"))
        self.filters = filters
        self.strides = strides
        self.variant = variant
        self.dilation_rate = dilation_rate
        self.residual = residual
        self.squeeze_ratio = squeeze_ratio

    def build(self, input_shape: Shape) -> None:
        """Make the sub-layers, whose widths depend on the input's."""
        width = self._width(input_shape)
        self.splits = self._splits(width)
        passed = self._passed(width)
        branch_shape = list(input_shape)
        if self.splits:
            branch_shape[self._factory.axis] = width // 2
        else:
            self.projection = self._projection(passed)
            build_chain(self.projection, input_shape)
        self.main = self._main(self.filters // 2, self.filters - passed)
        build_chain(self.main, branch_shape)
        self.pointwise2_relu = self._factory.relu("pointwise2_relu")
        self.shuffle: Any = None
        if self.variant == "torchvision":
            self.shuffle = self._shuffle(2, self.compute_output_shape(input_shape))
        elif self.splits:
            self.shuffle = self._shuffle(max(width // 2, 1), input_shape)

    def _shuffle(self, groups, shape):
        layer = ChannelShuffle(
            groups, data_format=self.data_format, dtype=self.dtype_policy, name="shuffle"
        )
        layer.build(shape)  # Keras's own quantization raises for a model with an unbuilt layer
        return layer

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the unit."""
        if self.splits:
            mixed = self.shuffle(inputs) if self.variant == "megvii" else inputs
            passed, branch = channel_split(mixed, 2, self.data_format)
        else:
            passed, branch = run_chain(self.projection, inputs, training), inputs
        changed = run_chain(self.main, branch, training)
        if self.residual and self.splits:
            changed = ops.add(changed, branch)
        outputs = ops.concatenate([passed, self.pointwise2_relu(changed)], axis=self._factory.axis)
        return self.shuffle(outputs) if self.variant == "torchvision" else outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` with `filters` channels and its height and width over the stride."""
        self._passed(self._width(input_shape))
        return self._resized(input_shape, self.strides, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            filters=self.filters,
            strides=self.strides,
            variant=self.variant,
            dilation_rate=self.dilation_rate,
            residual=self.residual,
            squeeze_ratio=self.squeeze_ratio,
        )
        return config

    def _splits(self, width):
        return self.strides == 1 and width == self.filters

    def _passed(self, width):
        """Channels of the branch beside the main one."""
        if self.variant == "torchvision" or self._splits(width):
            return self.filters // 2
        if width >= self.filters:
            raise ValueError(
                f'With variant="megvii" a unit that changes the width must exceed the {width} '
                f"channels of the input; received filters={self.filters}."
            )
        return width

    def _projection(self, filters):
        factory = self._factory
        return [
            *factory.depthwise(3, "projection_depthwise", self.strides, self.dilation_rate),
            factory.norm("projection_depthwise_bn"),
            *factory.conv(filters, 1, "projection_pointwise"),
            factory.norm("projection_pointwise_bn"),
            factory.relu("projection_pointwise_relu"),
        ]

    def _main(self, middle, filters):
        factory = self._factory
        layers = [
            *factory.conv(middle, 1, "pointwise1"),
            factory.norm("pointwise1_bn"),
            factory.relu("pointwise1_relu"),
            *factory.depthwise(3, "depthwise", self.strides, self.dilation_rate),
            factory.norm("depthwise_bn"),
            *factory.conv(filters, 1, "pointwise2"),
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
