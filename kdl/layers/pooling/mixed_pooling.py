"""The mixed pooling module."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers.pooling.strip_pooling import strips
from kdl.ops.adaptive_pooling import adaptive_average_pool
from kdl.ops.resizing import resize_align_corners


@keras.saving.register_keras_serializable("kdl")
class MixedPooling(Block):
    """Adds context from strips, which reach far, and from grids, which reach near.

    Two 1×1 convolutions reduce `C` channels to `C / ratio`, giving `s` and `l`; every convolution
    here is without bias and has a batch norm, written `K`:

    - near: `S = relu(K(relu(K(s) + Σₙ up(K(poolₙ(s))))))`, where `poolₙ` averages over a grid of
      `n × n` cells and `up` resizes to the size of `s`, bilinearly with corners aligned; the
      kernels are 3×3.
    - far: `L = relu(K(relu(K(rows of l) + K(columns of l))))`: strips as in
      `kdl.layers.StripPooling`, each convolved along itself; the last kernel is 3×3.

    `y = relu(x + K(concat(S, L)))` with a 1×1 kernel that leads back to `C` channels. The paper
    calls it the mixed pooling module (MPM).

    Shapes: `(batch, height, width, C)` → the same; channels at axis 1 with
    `data_format="channels_first"`. Height and width must be known. Maps smaller than a grid are
    allowed: cells then repeat.

    Args:
        pool_sizes: Sides of the grids. Defaults to 20 and 12; may be empty.
        ratio: By how much the width is reduced; it must divide the channels. Defaults to 4.
        **kwargs: `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`, as in every
            block of kdl.

    Raises:
        ValueError: If an argument is out of range, `ratio` does not divide the channels, or height
            or width is unknown.

    Source: Strip Pooling (arXiv 2003.13328), section 3.3 and figure 3; the details from the
    authors' code.

    Example:
        >>> import numpy as np
        >>> layer = MixedPooling((4, 2), data_format="channels_last")
        >>> tuple(layer(np.zeros((1, 8, 6, 16), "float32")).shape)
        (1, 8, 6, 16)
    """

    def __init__(self, pool_sizes: Sequence[int] = (20, 12), ratio: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(pool_sizes, tuple | list):
            raise ValueError(f"pool_sizes must be a tuple of integers; received {pool_sizes!r}.")
        ratio = check_integer("ratio", ratio)
        self.pool_sizes = tuple(check_integer("each of pool_sizes", n) for n in pool_sizes)
        self.ratio = ratio

    def build(self, input_shape: Shape) -> None:
        """Makes the convolutions; none of them changes height and width."""
        width = self._width(input_shape)
        if width % self.ratio:
            raise ValueError(
                f"ratio={self.ratio} does not divide the {width} channels of the input."
            )
        if None in self._size(input_shape):
            raise ValueError(
                f"MixedPooling needs a known height and width; received shape "
                f"{tuple(input_shape)}. Give the model a full input_shape."
            )
        narrow = width // self.ratio
        self.near_start = self._conv(narrow, 1, "near_reduce", relu=True)
        self.far_start = self._conv(narrow, 1, "far_reduce", relu=True)
        self.full = self._conv(narrow, 3, "full")
        self.grids = [self._conv(narrow, 3, f"grid{i}") for i in range(1, len(self.pool_sizes) + 1)]
        self.down = self._conv(narrow, (3, 1), "down")
        self.across = self._conv(narrow, (1, 3), "across")
        self.near_end = self._conv(narrow, 3, "near_join", relu=True)
        self.far_end = self._conv(narrow, 3, "far_join", relu=True)
        self.end = self._conv(width, 1, "expand")
        self.near_relu = self._factory.relu("near_relu")
        self.far_relu = self._factory.relu("far_relu")
        self.relu = self._factory.relu("relu")
        for chain in (self.near_start, self.far_start):
            shape = list(build_chain(chain, input_shape))
        inner = [self.full, *self.grids, self.down, self.across, self.near_end, self.far_end]
        for chain in inner:
            build_chain(chain, shape)
        shape[self._factory.axis] = 2 * narrow
        build_chain(self.end, shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Adds context."""
        near = self._near(run_chain(self.near_start, inputs, training), training)
        far = self._far(run_chain(self.far_start, inputs, training), training)
        both = ops.concatenate([near, far], axis=self._factory.axis)
        return self.relu(ops.add(inputs, run_chain(self.end, both, training)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "pool_sizes": self.pool_sizes, "ratio": self.ratio}

    def _conv(self, filters, kernel_size, name, relu=False):
        factory = self._factory
        chain = [*factory.conv(filters, kernel_size, f"{name}_conv"), factory.norm(f"{name}_bn")]
        return [*chain, factory.relu(f"{name}_relu")] if relu else chain

    def _near(self, x, training):
        total = run_chain(self.full, x, training)
        for size, chain in zip(self.pool_sizes, self.grids, strict=True):
            cells = adaptive_average_pool(x, (size, size), self.data_format)
            cells = run_chain(chain, cells, training)
            total = ops.add(
                total, resize_align_corners(cells, self._size(x.shape), self.data_format)
            )
        return run_chain(self.near_end, self.near_relu(total), training)

    def _far(self, x, training):
        rows, columns = strips(x, self._factory.axis)
        rows = run_chain(self.down, rows, training)
        columns = run_chain(self.across, columns, training)
        return run_chain(self.far_end, self.far_relu(ops.add(rows, columns)), training)

    def _size(self, shape):
        return shape[1:3] if self._factory.axis == -1 else shape[2:]
