"""Heads of two towers of convolutions."""

import math

import keras
from keras import ops

from kdl._checks import check_integer
from kdl.detection._levels_block import LevelsBlock
from kdl.layers._chain import build_chain, run_chain
from kdl.layers._layer_factory import LayerFactory

_DEVIATION = 0.01  # of the kernels at the start
GROUPS = 32


class TowersBlock(LevelsBlock):
    """Base of the heads of RetinaNet and FCOS: a tower for classes and one for boxes.

    All levels of the pyramid share the weights.

    Args:
        classes: Number of classes, background not counted.
        filters: Channels of the towers.
        depth: Convolutions of a tower before the last.
        prior: Probability of a class at the start.
        **kwargs: Those of every block.
    """

    anchors_per_cell = 1
    # Of the convolutions in the towers.
    has_norm, has_bias = False, True

    def __init__(self, classes, filters, depth, prior, **kwargs):
        super().__init__(**kwargs)
        self.classes = check_integer("classes", classes)
        self.filters = check_integer("filters", filters)
        self.depth = check_integer("depth", depth, least=0)
        self.prior = prior
        if not 0 < prior < 1:
            raise ValueError(f"prior must be between 0 and 1; received {prior!r}.")

    def build(self, input_shape):
        """Make the convolutions."""
        shape = self._checked(input_shape)[0]
        bias = keras.initializers.Constant(-math.log((1 - self.prior) / self.prior))
        self.class_tower = self._tower("class", shape)
        self.box_tower = self._tower("box", shape)
        width = self._resized(shape, 1, self.filters if self.depth else self._width(shape))
        self.class_logits = self._last(self.classes, "class_logits", width, bias)
        self._build_boxes(width)

    def call(self, inputs, training=None):
        """Apply both towers to every level."""
        levels = []
        for level in inputs:
            x = run_chain([*self.class_tower, *self.class_logits], level, training)
            logits = self._rows(x, self.anchors_per_cell, self.classes)
            x = run_chain(self.box_tower, level, training)
            levels.append({**self._of_boxes(x, training), "class_logits": logits})
        return {key: ops.concatenate([x[key] for x in levels], 1) for key in levels[0]}

    def compute_output_shape(self, input_shape):
        """Shapes of the offsets and logits."""
        shapes = self._checked(input_shape)
        cells = sum(math.prod(self._size(shape)) for shape in shapes)
        rows = (shapes[0][0], cells * self.anchors_per_cell)
        return {"box_offsets": (*rows, 4), "class_logits": (*rows, self.classes)}

    def get_config(self):
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            classes=self.classes, filters=self.filters, depth=self.depth, prior=self.prior
        )
        return config

    def _build_boxes(self, shape):
        """Make what follows the tower of boxes."""
        self.box_offsets = self._last(4, "box_offsets", shape)

    def _of_boxes(self, x, training):
        """Dict of what follows the tower of boxes on a level."""
        x = run_chain(self.box_offsets, x, training)
        return {"box_offsets": self._rows(x, self.anchors_per_cell, 4)}

    def _tower(self, name, shape):
        layers = []
        for number in range(self.depth):
            layers += self._factory.conv(
                self.filters,
                3,
                f"{name}_conv{number}",
                use_bias=self.has_bias,
                kernel_initializer=_normal(),
            )
            if self.has_norm:
                layers.append(self._norm(f"{name}_norm{number}"))
            layers.append(self._factory.relu(f"{name}_relu{number}"))
        build_chain(layers, shape)
        return layers

    def _norm(self, name):
        return keras.layers.GroupNormalization(
            GROUPS, axis=self._factory.axis, epsilon=1e-5, name=name, dtype=self.dtype_policy
        )

    def _last(self, numbers, name, shape, bias="zeros", relu=False):
        """A convolution in float32 under every dtype policy: its outputs are losses' inputs."""
        factory = LayerFactory(self.padding, self.data_format, keras.DTypePolicy("float32"))
        layers = factory.conv(
            numbers * self.anchors_per_cell,
            3,
            name,
            use_bias=True,
            kernel_initializer=_normal(),
            bias_initializer=bias,
        )
        if relu:
            layers.append(factory.relu(f"{name}_relu"))
        build_chain(layers, shape)
        return layers

    def _checked(self, shapes):
        shapes = self._list_of_shapes(shapes)
        widths = {self._width(shape) for shape in shapes}
        if len(widths) != 1:
            raise ValueError(
                f"Expected features of one number of channels, as of a FeaturePyramid; received "
                f"{sorted(widths)}."
            )
        for shape in shapes:
            self._size(shape)
        return shapes


def _normal():
    return keras.initializers.RandomNormal(stddev=_DEVIATION)
