"""Fire module of SqueezeNet (arXiv 1602.07360)."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._typing import Shape, Tensor
from kdl.layers._block import Block
from kdl.layers._chain import build_chain, run_chain


@keras.saving.register_keras_serializable("kdl")
class FireModule(Block):
    """Fire module of SqueezeNet: few channels are made, then many from them.

    `s = relu(conv1×1(x))`, `y = concat(relu(conv1×1(s)), relu(conv3×3(s)))`; all convolutions have
    biases. Nothing is normalized, hence kernels start as He et al. draw them (arXiv 1502.01852),
    which keeps the variance through ReLUs. A bypass adds the input to that, without an activation
    after the sum:

    - `bypass="simple"`: `y + x`, which needs `C = expand1x1 + expand3x3`;
    - `bypass="complex"`: the same where the widths are equal, and `y + conv1×1(x)` elsewhere.

    Shapes: `(batch, height, width, C)` → `(batch, height, width, expand1x1 + expand3x3)`. Channels
    are at axis 1 with `data_format="channels_first"`.

    Args:
        squeeze: Channels of the first convolution.
        expand1x1: Channels of the second 1×1 convolution, which come first in the output.
        expand3x3: Channels of the 3×3 convolution.
        bypass: None (default), `"simple"` or `"complex"`.
        dilation_rate: Dilation of the 3×3 convolution. Defaults to 1.
        **kwargs: `data_format`, `name`, `dtype` and `trainable`, as in every block of kdl; its
            `padding`, `epsilon` and `momentum` have no effect.

    Raises:
        ValueError: If an argument is out of range, or a simple bypass meets another width.

    Source: SqueezeNet (arXiv 1602.07360), section 3.2 and figure 2.

    Example:
        >>> import numpy as np
        >>> fire = FireModule(16, 64, 64, data_format="channels_last")
        >>> tuple(fire(np.zeros((1, 54, 54, 96), "float32")).shape)
        (1, 54, 54, 128)
    """

    def __init__(
        self,
        squeeze: int,
        expand1x1: int,
        expand3x3: int,
        bypass: str | None = None,
        dilation_rate: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        squeeze = check_integer("squeeze", squeeze)
        expand1x1 = check_integer("expand1x1", expand1x1)
        expand3x3 = check_integer("expand3x3", expand3x3)
        check_choice("bypass", bypass, (None, "simple", "complex"))
        dilation_rate = check_integer("dilation_rate", dilation_rate)
        self.squeeze = squeeze
        self.expand1x1 = expand1x1
        self.expand3x3 = expand3x3
        self.bypass = bypass
        self.dilation_rate = dilation_rate

    def build(self, input_shape: Shape) -> None:
        """Make the convolutions."""
        filters = self._filters(input_shape)
        self.squeeze_conv = self._conv(self.squeeze, 1, "squeeze")
        self.expand1x1_conv = self._conv(self.expand1x1, 1, "expand1x1")
        self.expand3x3_conv = self._conv(self.expand3x3, 3, "expand3x3")
        squeezed = build_chain(self.squeeze_conv, input_shape)
        build_chain(self.expand1x1_conv, squeezed)
        build_chain(self.expand3x3_conv, squeezed)
        self.shortcut = []
        if self.bypass == "complex" and self._width(input_shape) != filters:
            self.shortcut = self._factory.conv(filters, 1, "shortcut", use_bias=True)
            build_chain(self.shortcut, input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Apply the module."""
        squeezed = run_chain(self.squeeze_conv, inputs)
        branches = [run_chain(c, squeezed) for c in (self.expand1x1_conv, self.expand3x3_conv)]
        outputs = ops.concatenate(branches, axis=self._factory.axis)
        if self.bypass is None:
            return outputs
        return ops.add(outputs, run_chain(self.shortcut, inputs))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """`input_shape` with `expand1x1 + expand3x3` channels."""
        return self._resized(input_shape, 1, self._filters(input_shape))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            squeeze=self.squeeze,
            expand1x1=self.expand1x1,
            expand3x3=self.expand3x3,
            bypass=self.bypass,
            dilation_rate=self.dilation_rate,
        )
        return config

    def _filters(self, input_shape):
        filters, width = self.expand1x1 + self.expand3x3, self._width(input_shape)
        if self.bypass == "simple" and width != filters:
            raise ValueError(
                f'bypass="simple" adds the input, which must have expand1x1 + expand3x3, {filters} '
                f'channels; it has {width}. Pass bypass="complex" to add it through a convolution.'
            )
        return filters

    def _conv(self, filters, kernel_size, name):
        dilation = 1 if kernel_size == 1 else self.dilation_rate
        return self._factory.conv(
            filters,
            kernel_size,
            name,
            dilation_rate=dilation,
            use_bias=True,
            activation="relu",
            kernel_initializer="he_uniform",
        )
