"""Blocks that read regions of a feature pyramid."""

import math

from keras import ops

from kdl._checks import check_integer
from kdl.detection._levels_block import LevelsBlock
from kdl.ops.roi_align import pyramid_roi_align, roi_levels


class RegionBlock(LevelsBlock):
    """Base of the heads of R-CNN: each region is read from a level by its size.

    Args:
        strides: Pixels of the input for one of each level's, powers of 2, each twice the one
            before.
        pool_size: Cells of a region, down and across.
        sampling_ratio: As in `kdl.ops.roi_align`.
        aligned: As in `kdl.ops.roi_align`.
        **kwargs: As in every block of kdl.
    """

    def __init__(self, strides, pool_size, sampling_ratio, aligned, **kwargs):
        super().__init__(**kwargs)
        self.strides = tuple(check_integer("strides", stride) for stride in strides)
        self.pool_size = check_integer("pool_size", pool_size)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        # Boxes keep their precision, also where features are in float16; layers inside cast.
        self.autocast = False
        first = self.strides[0] if self.strides else 0
        if not first or self.strides != tuple(first << n for n in range(len(self.strides))):
            raise ValueError(f"Expected strides such as (4, 8, 16, 32); received {strides!r}.")

    def get_config(self):
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            strides=self.strides,
            pool_size=self.pool_size,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
        )
        return config

    def _pooled_shape(self, shapes):
        """Shape of the pooled regions, each like an image of its own."""
        shapes = self._list_of_shapes(shapes)
        if len(shapes) != len(self.strides):
            raise ValueError(
                f"Expected features of {len(self.strides)} levels, of the strides {self.strides}; "
                f"received {len(shapes)}."
            )
        shape, cells = [None, self.pool_size, self.pool_size], self._width(shapes[0])
        return tuple([*shape, cells] if self._factory.axis == -1 else [None, cells, *shape[1:]])

    def _pool(self, features, boxes):
        first = int(math.log2(self.strides[0]))
        if self._factory.axis == 1:
            features = [ops.transpose(x, (0, 2, 3, 1)) for x in features]
        pooled = pyramid_roi_align(
            features,
            boxes,
            roi_levels(boxes, first, first + len(self.strides) - 1),
            [1 / stride for stride in self.strides],
            self.pool_size,
            self.sampling_ratio,
            self.aligned,
        )
        pooled = ops.reshape(pooled, (-1, *pooled.shape[2:]))
        return ops.transpose(pooled, (0, 3, 1, 2)) if self._factory.axis == 1 else pooled
