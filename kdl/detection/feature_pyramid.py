"""Feature pyramid network (arXiv 1612.03144)."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.detection._levels_block import LevelsBlock
from kdl.layers._chain import build_chain, run_chain
from kdl.layers.pooling.max_pooling2d import MaxPooling2D

EXTRAS = (None, "pool", "p5", "c5")


@keras.saving.register_keras_serializable("kdl")
class FeaturePyramid(LevelsBlock):
    """Feature pyramid network (FPN): features of one width at every level, with what is above.

    From the coarsest level down `m = conv1×1(c) + upsample(m above)`, by the nearest pixel, and
    `p = conv3×3(m)`. Coarser levels may follow:

    - `extra="pool"`: every second pixel of the last level (Faster R-CNN);
    - `extra="p5"`: `p6 = conv3×3/2(p5)` and `p7 = conv3×3/2(relu(p6))` (RetinaNet of torchvision);
    - `extra="c5"`: the same, with `p6` of the backbone's last features (RetinaNet of the paper).

    Shapes: a list of `(batch, height, width, C)`, finest first, each half as large as the one
    before, rounded up, or as large → a list of `(batch, height, width, filters)`. Channels are at
    axis 1 with `data_format="channels_first"`. Heights and widths are known.

    Args:
        filters: Channels of every level. Defaults to 256.
        extra: As above; None (default) for no more levels.
        norm: If convolutions of the levels have a batch norm in place of a bias. Defaults to False.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range, or the features are no list of such shapes.

    Source: Lin et al., Feature Pyramid Networks (arXiv 1612.03144), section 3; the extra levels are
    those of Lin et al., RetinaNet (arXiv 1708.02002), section 4.

    Example:
        >>> import numpy as np
        >>> features = [np.zeros((1, side, side, 8), "float32") for side in (16, 8, 4)]
        >>> pyramid = FeaturePyramid(32, extra="p5", data_format="channels_last")
        >>> [tuple(level.shape) for level in pyramid(features)]
        [(1, 16, 16, 32), (1, 8, 8, 32), (1, 4, 4, 32), (1, 2, 2, 32), (1, 1, 1, 32)]
    """

    def __init__(
        self, filters: int = 256, extra: str | None = None, norm: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters)
        self.extra = check_choice("extra", extra, EXTRAS)
        self.norm = norm

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Make the convolutions."""
        shapes = self._checked(input_shape)
        self.laterals, self.outputs_convs, self.extras, self.upsamplings = [], [], [], []
        for number, shape in enumerate(shapes):
            self.laterals.append(self._conv(1, f"lateral_{number}"))
            inner = build_chain(self.laterals[-1], shape)
            self.outputs_convs.append(self._conv(3, f"output_{number}"))
            build_chain(self.outputs_convs[-1], inner)
        for number in range(len(shapes) - 1):
            self.upsamplings.append(self._upsampling(shapes, number))
        if self.extra == "pool":
            pool = MaxPooling2D(
                1, 2, data_format=self.data_format, name="pool", dtype=self.dtype_policy
            )
            self.extras = [[pool]]
        elif self.extra is not None:
            self.extras = [
                self._factory.conv(self.filters, 3, "p6", strides=2, use_bias=True),
                [
                    self._factory.relu("p6_relu"),
                    *self._factory.conv(self.filters, 3, "p7", strides=2, use_bias=True),
                ],
            ]
        below = shapes[-1] if self.extra == "c5" else inner
        for chain in self.extras:
            below = build_chain(chain, below)

    def call(self, inputs: Sequence[Tensor], training: bool | None = None) -> list[Tensor]:
        """Apply the network."""
        if len(inputs) != len(self.laterals):
            raise ValueError(f"Expected {len(self.laterals)} features; received {len(inputs)}.")
        above, levels = None, []
        for number in reversed(range(len(inputs))):
            lateral = run_chain(self.laterals[number], inputs[number], training)
            if above is not None:
                lateral = ops.add(lateral, self._upsample(number, above))
            above = lateral
            levels.insert(0, run_chain(self.outputs_convs[number], above, training))
        below = inputs[-1] if self.extra == "c5" else levels[-1]
        for chain in self.extras:
            below = run_chain(chain, below, training)
            levels.append(below)
        return levels

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> list[Shape]:
        """Shapes of the levels."""
        shapes = [self._resized(shape, 1, self.filters) for shape in self._checked(input_shape)]
        for _ in range({None: 0, "pool": 1}.get(self.extra, 2)):
            shapes.append(self._resized(shapes[-1], 2, self.filters))
        return shapes

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(filters=self.filters, extra=self.extra, norm=self.norm)
        return config

    def _conv(self, kernel_size, name):
        if not self.norm:
            return self._factory.conv(self.filters, kernel_size, name, use_bias=True)
        conv = self._factory.conv(self.filters, kernel_size, name)
        return [*conv, self._factory.norm(f"{name}_norm")]

    def _checked(self, shapes):
        shapes = self._list_of_shapes(shapes)
        sizes = [self._size(shape) for shape in shapes]
        for finer, coarser in itertools.pairwise(sizes):
            if coarser not in (finer, tuple(-(-side // 2) for side in finer)):
                raise ValueError(
                    f"Expected features each half as large as the ones before, rounded up, or as "
                    f"large, finest first; received heights and widths {sizes}."
                )
        return shapes

    def _upsampling(self, shapes, number):
        """A layer that doubles a level, or the pixels of it that the finer one gets."""
        finer, coarser = self._size(shapes[number]), self._size(shapes[number + 1])
        if finer == tuple(2 * side for side in coarser):
            layer = keras.layers.UpSampling2D(
                data_format=self.data_format, name=f"upsampling_{number}", dtype=self.dtype_policy
            )
            layer.build(self._resized(shapes[number + 1], 1, self.filters))
            return layer
        pairs = zip(finer, coarser, strict=True)
        return [np.arange(fine) * coarse // fine for fine, coarse in pairs]

    def _upsample(self, number, x):
        upsampling = self.upsamplings[number]
        if callable(upsampling):
            return upsampling(x)
        first = 1 if self._factory.axis == -1 else 2
        for axis, places in enumerate(upsampling, first):
            x = ops.take(x, places, axis)
        return x
