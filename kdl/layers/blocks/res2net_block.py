"""Multi-scale bottleneck block of Res2Net (arXiv 1904.01169)."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers._shortcut import projection
from kdl.ops.channels import channel_split, check_groups


@keras.saving.register_keras_serializable("kdl")
class Res2NetBlock(Block):
    """Bottleneck block whose 3×3 convolution is a ladder over groups of channels.

    1×1 conv to `scale · width` channels, BN, ReLU → split into `x₁ … x_s` of `width` channels, each
    but the last with its own 3×3 conv, BN, ReLU, called `Kᵢ` → concat → 1×1 conv to `filters`
    channels, BN. `y = relu(shortcut(x) + …)`; the shortcut is `x`, or a 1×1 convolution and BN
    where the stride is 2 or the width changes.

    - Normal block: `y₁ = K₁(x₁)`, `yᵢ = Kᵢ(xᵢ + yᵢ₋₁)`, `y_s = x_s`: each group sees a larger
      neighborhood than the one before.
    - `stage_start=True`, the first block of each stage: `yᵢ = Kᵢ(xᵢ)`, and `y_s` is a 3×3 average
      of `x_s` (zeros beyond the border count); all have the stride.

    The paper passes the first group unchanged, the authors' code the last; so does this block.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters)`;
    channels at axis 1 with `data_format="channels_first"`.

    Args:
        filters: Channels of the output.
        width: Channels of a group, a multiple of `cardinality`.
        scale: Number of groups `s`, at least 2. Defaults to 4.
        cardinality: Groups of each 3×3 convolution, as in ResNeXt. Defaults to 1.
        strides: 1 (default) or 2; 2 needs `stage_start=True`.
        dilation_rate: Dilation of the 3×3 convolutions, 1 with strides 2. Defaults to 1.
        stage_start: Whether the block begins a stage. Defaults to False.
        average_shortcut: Whether the shortcut halves the size by averaging over 2×2 tiles, as in
            the networks called v1b. Defaults to False.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range, or `cardinality` does not divide `width`; the
            nearest numbers that fit are named.

    Source: Res2Net (arXiv 1904.01169), section 3.1 and figure 2, and the authors' code.

    Example:
        >>> import numpy as np
        >>> block = Res2NetBlock(32, 6, strides=2, stage_start=True, data_format="channels_last")
        >>> tuple(block(np.zeros((1, 8, 8, 16), "float32")).shape)
        (1, 4, 4, 32)
    """

    def __init__(
        self,
        filters: int,
        width: int,
        scale: int = 4,
        cardinality: int = 1,
        strides: int = 1,
        dilation_rate: int = 1,
        stage_start: bool = False,
        average_shortcut: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        filters = check_integer("filters", filters)
        width = check_integer("width", width)
        scale = checked_scale(scale)
        cardinality = check_groups(width, cardinality, "width")
        check_choice("strides", strides, (1, 2))
        dilation_rate = check_integer("dilation_rate", dilation_rate)
        if strides > 1 and not stage_start:
            raise ValueError(
                f"strides={strides} needs stage_start=True: a normal block adds groups of the old "
                f"size to groups of the new one."
            )
        self.filters = filters
        self.width = width
        self.scale = scale
        self.cardinality = cardinality
        self.strides = strides
        self.dilation_rate = dilation_rate
        self.stage_start = stage_start
        self.average_shortcut = average_shortcut

    def build(self, input_shape: Shape) -> None:
        """Make the sub-layers; the shortcut's depend on the width of the input."""
        factory = self._factory
        self.projects = self.strides != 1 or self._width(input_shape) != self.filters
        if self.projects:
            self.projection = projection(factory, self.filters, self.strides, self.average_shortcut)
            build_chain(self.projection, input_shape)
        self.start = [
            *factory.conv(self.scale * self.width, 1, "conv1"),
            factory.norm("bn1"),
            factory.relu("relu1"),
        ]
        shape = list(build_chain(self.start, input_shape))
        shape[factory.axis] = self.width
        self.rungs = [self._rung(i) for i in range(self.scale - 1)]
        for rung in self.rungs:
            build_chain(rung, shape)
        self.pool = factory.average_pool("pool", self.strides) if self.stage_start else []
        shape = list(build_chain(self.pool, shape))
        shape[factory.axis] = self.scale * self.width
        self.end = [*factory.conv(self.filters, 1, "conv3"), factory.norm("bn3")]
        build_chain(self.end, shape)
        self.relu3 = factory.relu("relu3")

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the block."""
        x = run_chain(self.start, inputs, training)
        *groups, last = channel_split(x, self.scale, self.data_format)
        results = []
        for rung, group in zip(self.rungs, groups, strict=True):
            if results and not self.stage_start:
                group = ops.add(group, results[-1])
            results.append(run_chain(rung, group, training))
        results.append(run_chain(self.pool, last))
        x = run_chain(self.end, ops.concatenate(results, axis=self._factory.axis), training)
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
            scale=self.scale,
            cardinality=self.cardinality,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            stage_start=self.stage_start,
            average_shortcut=self.average_shortcut,
        )
        return config

    def _rung(self, index):
        factory = self._factory
        conv = factory.conv(
            self.width,
            3,
            f"conv2_{index}",
            self.strides,
            self.cardinality,
            self.dilation_rate,
        )
        return [*conv, factory.norm(f"bn2_{index}"), factory.relu(f"relu2_{index}")]


def checked_scale(scale: int) -> int:
    """`scale`, if it is an integer of at least 2."""
    scale = check_integer("scale", scale)
    if scale < 2:
        raise ValueError(
            "scale must be at least 2; received 1, which is ResNet's bottleneck: use ResNeXtBlock."
        )
    return scale
