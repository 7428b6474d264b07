"""Inception module with batch normalization (arXiv 1502.03167)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers.blocks.squeeze_excite import SqueezeExcite
from kdl.layers.pooling.max_pooling2d import MaxPooling2D


@keras.saving.register_keras_serializable("kdl")
class InceptionBlock(Block):
    """Inception module with batch normalization: four views of the input, side by side.

    `y = concat(1×1, 1×1 → 3×3, 1×1 → 3×3 → 3×3, pool → 1×1)`, where each number is a convolution,
    BN, ReLU. With `pointwise=0` there is no first branch, with `projection=0` no convolution after
    the pool; the modules that halve the size are without both, and have their stride in the pool
    and in the last 3×3 convolution of each branch. With `squeeze_ratio` a `SqueezeExcite` gates
    `y`.

    The pool sees 3×3 pixels. At the border the average counts zeros as pixels with
    `padding="symmetric"`, as in Caffe; the maximum sees only what is there.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters)`
    with `filters = pointwise + single[1] + double[1] + (projection or C)`; channels at axis 1 with
    `data_format="channels_first"`.

    Args:
        pointwise: Channels of the 1×1 branch, or 0.
        single: Channels of the 1×1 and of the 3×3 convolution of the second branch.
        double: Channels of the 1×1 and of both 3×3 convolutions of the third branch.
        projection: Channels of the convolution after the pool, or 0.
        pool: `"average"` (default) or `"max"`.
        strides: 1 (default) or 2.
        dilation_rate: Dilation of the 3×3 convolutions, 1 with strides 2. Defaults to 1.
        squeeze_ratio: Reduction of the squeeze-and-excitation, or None (default) for none.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range, or strides 2 meet the 1×1 branch or dilation.

    Source: Batch Normalization (arXiv 1502.03167), appendix; Squeeze-and-Excitation Networks (arXiv
    1709.01507), figure 2.

    Example:
        >>> import numpy as np
        >>> block = InceptionBlock(64, (64, 64), (64, 96), 32, data_format="channels_last")
        >>> tuple(block(np.zeros((1, 28, 28, 192), "float32")).shape)
        (1, 28, 28, 256)
    """

    def __init__(
        self,
        pointwise: int,
        single: Sequence[int],
        double: Sequence[int],
        projection: int,
        pool: str = "average",
        strides: int = 1,
        dilation_rate: int = 1,
        squeeze_ratio: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        pointwise = check_integer("pointwise", pointwise, least=0)
        projection = check_integer("projection", projection, least=0)
        check_choice("pool", pool, ("average", "max"))
        check_choice("strides", strides, (1, 2))
        dilation_rate = check_integer("dilation_rate", dilation_rate)
        if strides == 2 and (pointwise or dilation_rate != 1):
            raise ValueError(
                f"strides=2 needs pointwise=0 and dilation_rate=1; received {pointwise} and "
                f"{dilation_rate}."
            )
        self.pointwise = pointwise
        self.single = _checked_pair("single", single)
        self.double = _checked_pair("double", double)
        self.projection = projection
        self.pool = pool
        self.strides = strides
        self.dilation_rate = dilation_rate
        self.squeeze_ratio = squeeze_ratio

    def build(self, input_shape: Shape) -> None:
        """Make the branches."""
        self.branches = [
            [
                *self._conv(self.single[0], 1, "single1"),
                *self._conv(self.single[1], 3, "single2", self.strides),
            ],
            [
                *self._conv(self.double[0], 1, "double1"),
                *self._conv(self.double[1], 3, "double2"),
                *self._conv(self.double[1], 3, "double3", self.strides),
            ],
            [
                *self._pool(),
                *(self._conv(self.projection, 1, "projection") if self.projection else []),
            ],
        ]
        if self.pointwise:
            self.branches.insert(0, self._conv(self.pointwise, 1, "pointwise"))
        for branch in self.branches:
            build_chain(branch, input_shape)
        if self.squeeze_ratio:
            self.se = SqueezeExcite(
                self.squeeze_ratio,
                data_format=self.data_format,
                dtype=self.dtype_policy,
                name="se",
            )
            self.se.build(self.compute_output_shape(input_shape))

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the module."""
        views = [run_chain(branch, inputs, training) for branch in self.branches]
        outputs = ops.concatenate(views, axis=self._factory.axis)
        return self.se(outputs) if self.squeeze_ratio else outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` over the stride, with the channels of all branches."""
        pooled = self.projection or self._width(input_shape)
        filters = self.pointwise + self.single[1] + self.double[1] + pooled
        return self._resized(input_shape, self.strides, filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            pointwise=self.pointwise,
            single=self.single,
            double=self.double,
            projection=self.projection,
            pool=self.pool,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            squeeze_ratio=self.squeeze_ratio,
        )
        return config

    def _conv(self, filters, kernel_size, name, strides=1):
        dilation = 1 if kernel_size == 1 else self.dilation_rate
        return [
            *self._factory.conv(filters, kernel_size, f"{name}_conv", strides, 1, dilation),
            self._factory.norm(f"{name}_bn"),
            self._factory.relu(f"{name}_relu"),
        ]

    def _pool(self):
        if self.pool == "average":
            return self._factory.average_pool("pool", self.strides)
        # Caffe's pool, at even sizes; at odd ones that has a pixel less than the convolutions.
        return [
            MaxPooling2D(
                3,
                self.strides,
                padding="same",
                data_format=self.data_format,
                dtype=self.dtype_policy,
                name="pool",
            )
        ]


def _checked_pair(name, pair):
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(f"{name} must be two numbers of channels; received {pair!r}.")
    return tuple(check_integer(f"each number of {name}", value) for value in pair)
