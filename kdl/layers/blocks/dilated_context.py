"""Context module of dilated convolutions (arXiv 1511.07122)."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain
from kdl.layers.blocks._context_identity import ContextIdentity

# Size → multiple of the input's channels in each 3×3 convolution; a 1×1 one ends both.
_WIDTHS = {"basic": (1, 1, 1, 1, 1, 1, 1), "large": (2, 2, 4, 8, 16, 32, 32)}


@keras.saving.register_keras_serializable("kdl")
class DilatedContext(Block):
    """Context module: convolutions of growing dilation that see far at full resolution.

    3×3 convolutions with the given dilations, a ReLU after each, then a 1×1 convolution:
    `y[p] = b + Σ_t k[t] · x[p + l · t]` with dilation `l`. With the default dilations an output
    pixel sees 67×67 input pixels. The module starts as the identity (of what is not negative), so
    that it can be put behind a trained network: see `kdl.layers.blocks._context_identity`.

    Shapes: `(batch, height, width, C)` → the same; channels at axis 1 with
    `data_format="channels_first"`.

    Args:
        size: `"basic"` (default; `C` channels throughout) or `"large"` (2C, 2C, 4C, 8C, 16C, 32C,
            32C channels, and noise of deviation 0.01 in the initial kernels).
        dilations: Dilation of each 3×3 convolution. Defaults to 1, 1, 2, 4, 8, 16, 1; the authors'
            network for Cityscapes has two more, 32 and 64, before the last. The widths of
            `"large"` are for seven; further ones keep the last.
        seed: Seed of the noise, or None.
        **kwargs: `data_format`, `name`, `dtype` and `trainable`.

    Raises:
        ValueError: If an argument is out of range.

    Source: Multi-Scale Context Aggregation by Dilated Convolutions (arXiv 1511.07122), table 1.

    Example:
        >>> import numpy as np
        >>> context = DilatedContext(data_format="channels_last")
        >>> x = np.arange(18, dtype="float32").reshape(1, 3, 3, 2)
        >>> float(keras.ops.convert_to_numpy(context(x))[0, 2, 2, 1]), context.receptive_field
        (17.0, 67)
    """

    def __init__(
        self,
        size: str = "basic",
        dilations: Sequence[int] = (1, 1, 2, 4, 8, 16, 1),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("size", size, tuple(_WIDTHS))
        self.size = size
        self.dilations = tuple(check_integer("each of dilations", d) for d in dilations)
        self.seed = seed

    @property
    def receptive_field(self) -> int:
        """Side of the square of input pixels that an output pixel sees."""
        return 1 + 2 * sum(self.dilations)

    def build(self, input_shape: Shape) -> None:
        """Make the convolutions."""
        features = self._width(input_shape)
        widths = [*_WIDTHS[self.size], *[_WIDTHS[self.size][-1]] * len(self.dilations)]
        stddev = 0.01 if self.size == "large" else 0.0
        self.chain = []
        for index, dilation in enumerate(self.dilations):
            filters = widths[index] * features
            seed = None if self.seed is None else self.seed + index
            conv = self._conv(filters, 3, index, dilation, ContextIdentity(features, stddev, seed))
            self.chain += [conv, self._factory.relu(f"relu{index + 1}")]
        last = len(self.dilations)
        seed = None if self.seed is None else self.seed + last
        self.chain.append(self._conv(features, 1, last, 1, ContextIdentity(features, stddev, seed)))
        build_chain(self.chain, input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Aggregate context."""
        return run_chain(self.chain, inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(size=self.size, dilations=self.dilations, seed=self.seed)
        return config

    def _conv(self, filters, kernel_size, index, dilation, initializer):
        [conv] = self._factory.conv(
            filters,
            kernel_size,
            f"conv{index + 1}",
            dilation_rate=dilation,
            use_bias=True,
            kernel_initializer=initializer,
        )
        return conv
