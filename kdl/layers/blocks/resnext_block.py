"""Bottleneck block with aggregated transformations, of ResNeXt (arXiv 1611.05431)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers.blocks.squeeze_excite import SqueezeExcite
from kdl.layers.pooling.strip_pooling import StripPooling


@keras.saving.register_keras_serializable("kdl")
class ResNeXtBlock(Block):
    """Bottleneck block with aggregated transformations: `y = relu(shortcut(x) + Σᵢ Tᵢ(x))`.

    Each of `cardinality` branches `Tᵢ` is 1×1 conv to `width` channels, BN, ReLU → 3×3 conv, BN,
    ReLU → 1×1 conv to `filters` channels; one BN follows the sum. The shortcut is `x`, or a 1×1
    convolution and BN where the stride is 2 or the width changes. The paper gives three equal
    forms of the sum (figure 3):

    - `form="a"`: the branches one by one, added up;
    - `form="b"`: the branches' 3×3 convolutions joined, then one 1×1 convolution;
    - `form="c"` (default, the fast one): 1×1 conv, grouped 3×3 conv, 1×1 conv.

    `in_form` gives the same block in another form. With `cardinality=1` it is ResNet's bottleneck.
    The networks of the squeeze-and-excitation paper are this block with `squeeze_ratio`.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters)`;
    channels at axis 1 with `data_format="channels_first"`.

    Args:
        filters: Channels of the output.
        cardinality: Number of branches. Defaults to 32.
        width: Channels of a branch. Defaults to 4.
        strides: 1 (default) or 2, of the 3×3 convolution.
        dilation_rate: Dilation of the 3×3 convolution, 1 with strides 2. Defaults to 1.
        form: `"a"`, `"b"` or `"c"` (default).
        squeeze_ratio: Reduction of a `SqueezeExcite` before the addition, or None (default).
        strides_first: Whether the first 1×1 convolution has the stride, as in Caffe's ResNet.
        first_filters: Channels of the first convolution; `cardinality · width` by default.
        projection_size: Size of the shortcut's kernel, 1 (default) or 3.
        strip_pooling: Whether a `StripPooling` gates what the 3×3 convolution gives. Defaults to
            False.
        **kwargs: `padding`, `epsilon`, `momentum`, `data_format`, `name`, `dtype` and `trainable`,
            as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range.

    Source: ResNeXt (arXiv 1611.05431), figure 3 and table 1.

    Example:
        >>> import numpy as np
        >>> block = ResNeXtBlock(256, strides=2, data_format="channels_last")
        >>> tuple(block(np.zeros((1, 8, 8, 64), "float32")).shape)
        (1, 4, 4, 256)
    """

    def __init__(
        self,
        filters: int,
        cardinality: int = 32,
        width: int = 4,
        strides: int = 1,
        dilation_rate: int = 1,
        form: str = "c",
        squeeze_ratio: int | None = None,
        strides_first: bool = False,
        first_filters: int | None = None,
        projection_size: int = 1,
        strip_pooling: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        filters = check_integer("filters", filters)
        cardinality = check_integer("cardinality", cardinality)
        width = check_integer("width", width)
        check_choice("strides", strides, (1, 2))
        check_choice("form", form, ("a", "b", "c"))
        check_choice("projection_size", projection_size, (1, 3))
        if form != "c" and (strides_first or first_filters or strip_pooling):
            raise ValueError(
                f'strides_first, first_filters and strip_pooling need form="c"; received '
                f"form={form!r}."
            )
        self.filters = filters
        self.cardinality = cardinality
        self.width = width
        self.strides = strides
        self.dilation_rate = dilation_rate
        self.form = form
        self.squeeze_ratio = squeeze_ratio
        self.strides_first = strides_first
        self.first_filters = first_filters
        self.projection_size = projection_size
        self.strip_pooling = strip_pooling

    def build(self, input_shape: Shape) -> None:
        """Make the sub-layers; the shortcut's depend on the width of the input."""
        factory = self._factory
        self._input_shape = tuple(input_shape)
        output_shape = self.compute_output_shape(input_shape)
        self.projects = self.strides != 1 or self._width(input_shape) != self.filters
        if self.projects:
            self.projection = self._projection()
            build_chain(self.projection, input_shape)
        self.branches = self._branches()
        for branch in self.branches:
            inner = list(build_chain(branch, input_shape))
        self.ends = self._ends()
        inner[factory.axis] = self.cardinality * self.width // len(self.ends)
        for end in self.ends:
            end.build(inner)
        if self.strip_pooling:
            self.strips = StripPooling(
                epsilon=self.epsilon,
                momentum=self.momentum,
                data_format=self.data_format,
                dtype=self.dtype_policy,
                name="strips",
            )
            self.strips.build(tuple(inner))
        self.bn3 = factory.norm("bn3")
        self.bn3.build(output_shape)
        if self.squeeze_ratio:
            self.se = SqueezeExcite(
                self.squeeze_ratio,
                data_format=self.data_format,
                dtype=self.dtype_policy,
                name="se",
            )
            self.se.build(output_shape)
        self.relu3 = factory.relu("relu3")

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Apply the block."""
        x = [run_chain(branch, inputs, training) for branch in self.branches]
        if self.form == "b":
            x = [ops.concatenate(x, axis=self._factory.axis)]
        if self.strip_pooling:
            x = [self.strips(x[0], training=training)]
        terms = [end(term) for end, term in zip(self.ends, x, strict=True)]
        total = terms[0]
        for term in terms[1:]:
            total = ops.add(total, term)
        total = self.bn3(total, training=training)
        if self.squeeze_ratio:
            total = self.se(total)
        shortcut = run_chain(self.projection, inputs, training) if self.projects else inputs
        return self.relu3(ops.add(total, shortcut))

    def in_form(self, form: str) -> "ResNeXtBlock":
        """The same block, with the same weights, in another form.

        Args:
            form: `"a"`, `"b"` or `"c"`.

        Raises:
            ValueError: If this block is not built yet, or has no such form.

        Example:
            >>> block = ResNeXtBlock(16, cardinality=2, width=3, data_format="channels_last")
            >>> block.build((None, 8, 8, 16))
            >>> len(block.in_form("a").weights) - len(block.weights)
            11
        """
        if not self.built:
            raise ValueError("in_form copies weights: build the block first, or call it once.")
        copy = type(self)(**{**self.get_config(), "form": form})
        copy.build(self._input_shape)
        for ours, theirs in zip(_columns(self.branches), _columns(copy.branches), strict=True):
            _redistribute(ours, theirs, axis=-1)
        _redistribute([end.kernel for end in self.ends], [end.kernel for end in copy.ends], axis=-2)
        for ours, theirs in zip(self._shared(), copy._shared(), strict=True):
            theirs.set_weights(ours.get_weights())
        return copy

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` with `filters` channels and its height and width over the stride."""
        return self._resized(input_shape, self.strides, self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            filters=self.filters,
            cardinality=self.cardinality,
            width=self.width,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            form=self.form,
            squeeze_ratio=self.squeeze_ratio,
            strides_first=self.strides_first,
            first_filters=self.first_filters,
            projection_size=self.projection_size,
            strip_pooling=self.strip_pooling,
        )
        return config

    def _shared(self):
        """Sub-layers that all forms share."""
        return [
            *(self.projection if self.projects else []),
            self.bn3,
            *([self.se] if self.squeeze_ratio else []),
            *([self.strips] if self.strip_pooling else []),
        ]

    def _projection(self):
        dilation = self.dilation_rate if self.projection_size > 1 else 1
        conv = self._factory.conv(
            self.filters, self.projection_size, "projection_conv", self.strides, 1, dilation
        )
        return [*conv, self._factory.norm("projection_bn")]

    def _branches(self):
        wide = self.cardinality * self.width
        if self.form == "c":
            return [self._branch(self.first_filters or wide, wide, self.cardinality, "")]
        names = [f"branch{i}_" for i in range(self.cardinality)]
        return [self._branch(self.width, self.width, 1, name) for name in names]

    def _branch(self, first, filters, groups, prefix):
        factory = self._factory
        first_strides, strides = (self.strides, 1) if self.strides_first else (1, self.strides)
        return [
            *factory.conv(first, 1, f"{prefix}conv1", first_strides),
            factory.norm(f"{prefix}bn1"),
            factory.relu(f"{prefix}relu1"),
            *factory.conv(filters, 3, f"{prefix}conv2", strides, groups, self.dilation_rate),
            factory.norm(f"{prefix}bn2"),
            factory.relu(f"{prefix}relu2"),
        ]

    def _ends(self):
        prefixes = [""]
        if self.form == "a":
            prefixes = [f"branch{i}_" for i in range(self.cardinality)]
        return [self._factory.conv(self.filters, 1, f"{prefix}conv3")[0] for prefix in prefixes]


def _columns(branches):
    """For each weight of a branch, the list of this weight in all branches."""
    weights = [[w for layer in branch for w in layer.weights] for branch in branches]
    return [list(column) for column in zip(*weights, strict=True)]


def _redistribute(sources, targets, axis):
    """Join the arrays of `sources` along `axis` and distribute them among `targets`."""
    axis = axis if len(sources[0].shape) > 1 else -1
    joined = np.concatenate([ops.convert_to_numpy(w) for w in sources], axis)
    for target, value in zip(targets, np.split(joined, len(targets), axis), strict=True):
        target.assign(value)
