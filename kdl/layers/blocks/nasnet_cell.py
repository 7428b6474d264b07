"""Cell of NASNet, built from its description (arXiv 1707.07012)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer, is_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers.blocks.factorized_reduction import FactorizedReduction
from kdl.layers.pooling.average_pooling2d import AveragePooling2D
from kdl.layers.pooling.max_pooling2d import MaxPooling2D
from kdl.layers.regularization.scheduled_drop_path import ScheduledDropPath

# A row makes a state of two others: left operation, its state, right operation, its state.
NASNET_A_NORMAL = {
    "rows": (
        ("sep5", 0, "sep3", 1),
        ("sep5", 1, "sep3", 1),
        ("avg3", 0, "identity", 1),
        ("avg3", 1, "avg3", 1),
        ("sep3", 0, "identity", 0),
    ),
    "outputs": (1, 2, 3, 4, 5, 6),
}
NASNET_A_REDUCTION = {
    "rows": (
        ("sep5", 0, "sep7", 1),
        ("max3", 0, "sep7", 1),
        ("avg3", 0, "sep5", 1),
        ("identity", 3, "avg3", 2),
        ("sep3", 2, "max3", 0),
    ),
    "outputs": (3, 4, 5, 6),
}

_SEPARABLE = {"sep3": 3, "sep5": 5, "sep7": 7}
_POOLS = {"avg3": AveragePooling2D, "max3": MaxPooling2D}
_OPERATIONS = (*_SEPARABLE, *_POOLS, "identity")
_ADJUSTMENTS = ("projection", "factorized", "none")

# Lineage → pooling operations that take zeros around the image for pixels, with stride 2.
_ZEROS_COUNT = {"slim": (), "timm": ("avg3",), "keras": ("avg3", "max3")}


@keras.saving.register_keras_serializable("kdl")
class NASNetCell(Block):
    """Cell of NASNet: a small graph of operations on two feature maps, given as data.

    Called on `[h, p]`, the outputs of the last cell and of the one before (both may be the same).
    State 0 is `h` after ReLU, 1×1 convolution and BN; state 1 is `p`, adjusted to its size. Each
    row of the description adds a state, `left(states[i]) + right(states[j])`; the states listed
    under `outputs` are concatenated. The operations:

    - `"sep3"`, `"sep5"`, `"sep7"`: ReLU, depthwise, 1×1 convolution, BN, twice.
    - `"avg3"`, `"max3"`: 3×3 pooling.
    - `"identity"`.

    In a reduction cell the operations on states 0 and 1 have stride 2. Where an operation or an
    output would have another width or size than its fellows, a 1×1 convolution with BN (for
    outputs of another size a `FactorizedReduction`) brings it to theirs; NASNet-A needs none.

    Shapes: `[(batch, height, width, C), (batch, height', width', C')]` → `(batch, height, width,
    filters · outputs)`, with half the height and width, rounded up, of `h` in a reduction cell.

    Args:
        filters: Channels of each state.
        description: Dict of plain data: `"rows"`, a list of `(left operation, left state, right
            operation, right state)`, and `"outputs"`, a list of states. The module's
            `NASNET_A_NORMAL` (default) and `NASNET_A_REDUCTION` are the cells of the paper.
        reduction: Whether the cell halves height and width. Defaults to False.
        adjust: How `p` becomes state 1: `"projection"` (default; ReLU, 1×1 convolution, BN if its
            width is not `filters`), `"factorized"` (ReLU, `FactorizedReduction`, for a `p` of twice
            the size of `h`) or `"none"`.
        lineage: How pooling with stride 2 treats the border: `"slim"` (default; only pixels count,
            as in the authors' code), `"timm"` (zeros around the image count in averages) or
            `"keras"` (they count in maxima too, as in `keras.applications`). The last two need a
            known height and width.
        drop_path_keep: `final_keep_probability` of the `ScheduledDropPath` after every operation
            but identity; 1 (default) for none.
        cell: Index of the cell in its network, for drop path. Defaults to 0.
        cells: Number of cells of the network, for drop path. Defaults to 1.
        epsilon: Epsilon of batch normalization. Defaults to 1e-3.
        momentum: Momentum of batch normalization. Defaults to 0.9997.
        **kwargs: `data_format`, `name`, `dtype` and `trainable`. There is no `padding`: the
            convolutions pad by TensorFlow's rule in both lineages.

    Raises:
        ValueError: If an argument is out of range, the description is not one, or the sizes of `h`
            and `p` do not fit.

    Source: NASNet (arXiv 1707.07012), figure 4 and appendix A; tensorflow/models, slim, `nasnet`.

    Example:
        >>> import numpy as np
        >>> cell = NASNetCell(4, data_format="channels_last")
        >>> h, p = np.zeros((1, 8, 8, 6), "float32"), np.zeros((1, 8, 8, 5), "float32")
        >>> tuple(cell([h, p]).shape)
        (1, 8, 8, 24)
    """

    def __init__(
        self,
        filters: int,
        description: dict = NASNET_A_NORMAL,
        reduction: bool = False,
        adjust: str = "projection",
        lineage: str = "slim",
        drop_path_keep: float = 1.0,
        cell: int = 0,
        cells: int = 1,
        epsilon: float = 1e-3,
        momentum: float = 0.9997,
        **kwargs: Any,
    ) -> None:
        super().__init__(padding="same", epsilon=epsilon, momentum=momentum, **kwargs)
        filters = check_integer("filters", filters)
        check_choice("adjust", adjust, _ADJUSTMENTS)
        check_choice("lineage", lineage, _ZEROS_COUNT)
        self.filters = filters
        self.description = plain_description(description)
        self.reduction = reduction
        self.adjust = adjust
        self.lineage = lineage
        self.drop_path_keep = drop_path_keep
        self.cell = cell
        self.cells = cells
        self._drop_path("drop_path")  # raises for wrong arguments
        self.input_spec = [keras.layers.InputSpec(ndim=4)] * 2

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Make the operations, whose strides and widths depend on their states."""
        shapes = [tuple(shape) for shape in input_shape]
        if self.reduction and self.lineage != "slim":
            # Pooling is padded for this size.
            self.input_spec = [keras.layers.InputSpec(shape=(None, *s[1:])) for s in shapes]
        self.squeeze = [self._factory.relu("squeeze_relu"), *self._projection("squeeze")]
        self.adjusting = self._adjusting(self._width(shapes[1]))
        states = [build_chain(self.squeeze, shapes[0]), build_chain(self.adjusting, shapes[1])]
        self._check_sizes(states)
        for index, row in enumerate(self.description["rows"]):
            for side, kind, source in (("left", *row[:2]), ("right", *row[2:])):
                name, strides = f"{side}{index}", self._strides(source)
                chain = self._operation(kind, name, strides, states[source])
                setattr(self, name, chain)
                shape = build_chain(chain, states[source])
            states.append(shape)
        for source in self.description["outputs"]:
            chain = self._bringing(source, states[source])
            setattr(self, f"output{source}", chain)
            build_chain(chain, states[source])

    def call(self, inputs: Sequence[Tensor], training: bool | None = None) -> Tensor:
        """Run the cell on `[h, p]`."""
        states = [
            run_chain(chain, x, training)
            for chain, x in zip((self.squeeze, self.adjusting), inputs, strict=True)
        ]
        for index, (_, left, _, right) in enumerate(self.description["rows"]):
            sides = [("left", left), ("right", right)]
            pair = [
                run_chain(getattr(self, f"{side}{index}"), states[source], training)
                for side, source in sides
            ]
            states.append(ops.add(*pair))
        outputs = [
            run_chain(getattr(self, f"output{source}"), states[source], training)
            for source in self.description["outputs"]
        ]
        return ops.concatenate(outputs, axis=self._factory.axis)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        """Shape of `h` with `filters` channels an output, halved in a reduction cell."""
        channels = self.filters * len(self.description["outputs"])
        return self._resized(input_shape[0], 2 if self.reduction else 1, channels)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        del config["padding"]
        config.update(
            filters=self.filters,
            description=self.description,
            reduction=self.reduction,
            adjust=self.adjust,
            lineage=self.lineage,
            drop_path_keep=self.drop_path_keep,
            cell=self.cell,
            cells=self.cells,
        )
        return config

    def _strides(self, source):
        return 2 if self.reduction and source < 2 else 1

    def _sizes(self, shape):
        return shape[1:3] if self._factory.axis == -1 else shape[2:]

    def _check_sizes(self, states):
        h, p = map(self._sizes, states)
        if any(None not in pair and pair[0] != pair[1] for pair in zip(h, p, strict=True)):
            raise ValueError(
                f'p must have the size of h, or twice as much with adjust="factorized"; with '
                f"adjust={self.adjust!r} it gives {p} where h has {h} pixels."
            )

    def _projection(self, name, strides=1):
        factory = self._factory
        return [*factory.conv(self.filters, 1, f"{name}_conv", strides), factory.norm(f"{name}_bn")]

    def _halving(self, name):
        factory = self._factory
        return FactorizedReduction(
            self.filters,
            epsilon=factory.epsilon,
            momentum=factory.momentum,
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name=name,
        )

    def _adjusting(self, width):
        relu = self._factory.relu("adjust_relu")
        if self.adjust == "factorized":
            return [relu, self._halving("adjust")]
        if self.adjust == "none" or width == self.filters:
            return []
        return [relu, *self._projection("adjust")]

    def _operation(self, kind, name, strides, shape):
        if kind in _SEPARABLE:
            chain = self._separable(_SEPARABLE[kind], name, strides)
        else:
            chain = self._pool(kind, name, strides, shape) if kind in _POOLS else []
            fits = self._width(shape) == self.filters and (chain or strides == 1)
            if not fits:
                relu = [] if chain else [self._factory.relu(f"{name}_relu")]
                chain += [*relu, *self._projection(name, 1 if chain else strides)]
        if kind != "identity" and self.drop_path_keep < 1:
            chain.append(self._drop_path(f"{name}_drop_path"))
        return chain

    def _separable(self, kernel_size, name, strides):
        factory, layers = self._factory, []
        for index, step in ((1, strides), (2, 1)):
            layers += [
                factory.relu(f"{name}_relu{index}"),
                *factory.depthwise(kernel_size, f"{name}_depthwise{index}", step),
                *factory.conv(self.filters, 1, f"{name}_pointwise{index}"),
                factory.norm(f"{name}_bn{index}"),
            ]
        return layers

    def _pool(self, kind, name, strides, shape):
        cls = _POOLS[kind]
        common = {"data_format": self.data_format, "dtype": self.dtype_policy}
        if strides == 1 or kind not in _ZEROS_COUNT[self.lineage]:
            return [cls(3, strides, padding="same", name=f"{name}_pool", **common)]
        sizes = self._sizes(shape)
        if None in sizes:
            raise ValueError(
                f'lineage="{self.lineage}" pads by the size of the image, which must be known; '
                f'received {shape}. Pass input_shape with height and width, or lineage="slim".'
            )
        pads = tuple((n % 2, 1) for n in sizes)  # as the convolutions with stride 2 pad
        zeros = keras.layers.ZeroPadding2D(pads, name=f"{name}_pad", **common)
        return [zeros, cls(3, strides, name=f"{name}_pool", **common)]

    def _bringing(self, source, shape):
        name = f"output{source}"
        if self._strides(source) == 2:
            return [self._halving(name)]
        return [] if self._width(shape) == self.filters else self._projection(name)

    def _drop_path(self, name):
        return ScheduledDropPath(
            self.drop_path_keep, self.cell, self.cells, dtype=self.dtype_policy, name=name
        )


def plain_description(description: dict) -> dict:
    """A cell's description as lists, checked.

    Raises:
        ValueError: If it is not a description; the message tells the first thing wrong.
    """
    if not isinstance(description, dict) or set(description) != {"rows", "outputs"}:
        raise ValueError(
            f'A cell is described by a dict of "rows" and "outputs"; received {description!r}.'
        )
    rows = [list(row) for row in description["rows"]]
    for index, row in enumerate(rows):
        if len(row) != 4:
            raise ValueError(
                f"Row {index} must be (left operation, left state, right operation, right state); "
                f"received {row!r}."
            )
        for kind, source in (row[:2], row[2:]):
            check_choice(f"Each operation of row {index}", kind, _OPERATIONS)
            _check_state(f"Each state of row {index}", source, 2 + index)
    outputs = list(description["outputs"])
    for source in outputs:
        _check_state("Each output", source, 2 + len(rows))
    if not outputs or len(set(outputs)) < len(outputs):
        raise ValueError(f"outputs must be different states, one or more; received {outputs!r}.")
    return {"rows": rows, "outputs": outputs}


def _check_state(subject, source, states):
    if not is_integer(source) or not 0 <= source < states:
        raise ValueError(
            f"{subject} must be an integer from 0 to {states - 1}, the states known by then; "
            f"received {source!r}."
        )
