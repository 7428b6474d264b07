"""The building block of ShuffleNet V2."""

import keras
from keras import ops

from kdl.layers.channel_shuffle import ChannelShuffle
from kdl.layers.depthwise_conv2d import DepthwiseConv2D
from kdl.ops.channels import channel_axis, channel_split


@keras.saving.register_keras_serializable("kdl")
class ShuffleUnitV2(keras.layers.Layer):
    """Unit of ShuffleNet V2: half of the channels pass, the other half is transformed.

    With stride 1, `x → (a, b)` by channel split, `y = concat(a, main(b))`. With stride 2 both
    branches see all channels and convolve: `y = concat(projection(x), main(x))`.
    `main` is 1×1 conv, BN, ReLU → depthwise 3×3, BN → 1×1 conv, BN, ReLU;
    `projection` is depthwise 3×3, BN → 1×1 conv, BN, ReLU.

    The two published networks differ in where the channels are mixed:

    - `variant="torchvision"`: a channel shuffle of two groups ends each unit; with stride 2 both
      branches give `filters / 2` channels.
    - `variant="megvii"` (the authors' code): nothing ends the unit; the next one passes its even
      channels and transforms its odd ones. With stride 2 the projection keeps the width of the
      input and the main branch gives the rest.

    Shapes: `(batch, height, width, C)` → `(batch, ⌈height / strides⌉, ⌈width / strides⌉, filters)`;
    with stride 1, `C` must equal `filters`. Channels are at axis 1 with
    `data_format="channels_first"`.

    Args:
        filters: Channels of the output, an even number.
        strides: 1 (default) or 2.
        variant: `"torchvision"` (default) or `"megvii"`.
        padding: `"symmetric"` (default; one pixel on each side, as PyTorch pads) or `"same"`
            (TensorFlow's rule). They differ with stride 2 only.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.

    Raises:
        ValueError: If an argument is out of range, or the input does not have the channels that
            `filters`, `strides` and `variant` ask for.

    Source: ShuffleNet V2 (arXiv 1807.11164), figure 3 (c) and (d).

    Example:
        >>> import numpy as np
        >>> unit = ShuffleUnitV2(48, strides=2, data_format="channels_last")
        >>> tuple(unit(np.zeros((1, 28, 28, 24), "float32")).shape)
        (1, 14, 14, 48)
    """

    def __init__(
        self,
        filters,
        strides=1,
        variant="torchvision",
        padding="symmetric",
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(filters, int) or filters < 2 or filters % 2:
            raise ValueError(f"filters must be an even positive integer; received {filters!r}.")
        if strides not in (1, 2):
            raise ValueError(f"strides must be 1 or 2; received {strides!r}.")
        if variant not in ("torchvision", "megvii"):
            raise ValueError(f'variant must be "torchvision" or "megvii"; received {variant!r}.')
        if padding not in ("symmetric", "same"):
            raise ValueError(f'padding must be "symmetric" or "same"; received {padding!r}.')
        self.filters = filters
        self.strides = strides
        self.variant = variant
        self.padding = padding
        self.data_format = data_format or keras.config.image_data_format()
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        """Makes the sub-layers, whose widths depend on the input's."""
        axis = channel_axis(self.data_format)
        width = self._check_width(input_shape[axis])
        branch_shape = list(input_shape)
        if self.strides == 1:
            branch_shape[axis] = width // 2
        passed = width if self.variant == "megvii" and self.strides == 2 else self.filters // 2

        if self.strides == 2:
            self.projection = self._projection(passed)
            _build_chain(self.projection, input_shape)
        self.main = self._main(self.filters // 2, self.filters - passed)
        _build_chain(self.main, branch_shape)
        self.shuffle = ChannelShuffle(
            2 if self.variant == "torchvision" else max(width // 2, 1),
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name="shuffle",
        )

    def call(self, inputs, training=None):
        """Applies the unit."""
        axis = channel_axis(self.data_format)
        if self.strides == 2:
            passed, branch = _run_chain(self.projection, inputs, training), inputs
        else:
            mixed = self.shuffle(inputs) if self.variant == "megvii" else inputs
            passed, branch = channel_split(mixed, 2, self.data_format)
        outputs = ops.concatenate([passed, _run_chain(self.main, branch, training)], axis=axis)
        return self.shuffle(outputs) if self.variant == "torchvision" else outputs

    def compute_output_shape(self, input_shape):
        """`input_shape` with `filters` channels and its height and width over the stride."""
        axis = channel_axis(self.data_format)
        self._check_width(input_shape[axis])
        shape = [n if n is None else -(-n // self.strides) for n in input_shape]
        shape[0], shape[axis] = input_shape[0], self.filters
        return tuple(shape)

    def get_config(self):
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            filters=self.filters,
            strides=self.strides,
            variant=self.variant,
            padding=self.padding,
            data_format=self.data_format,
        )
        return config

    def _check_width(self, width):
        if width is None:
            raise ValueError("The number of input channels must be known; received None.")
        if self.strides == 1 and width != self.filters:
            raise ValueError(
                f"With strides=1 the input must have filters={self.filters} channels; it has "
                f"{width}. Use strides=2 to change the width."
            )
        if self.strides == 2 and self.variant == "megvii" and width >= self.filters:
            raise ValueError(
                f'With strides=2 and variant="megvii" filters must exceed the {width} channels of '
                f"the input; received filters={self.filters}."
            )
        return width

    def _projection(self, filters):
        return [
            *self._depthwise("projection_depthwise"),
            self._norm("projection_depthwise_bn"),
            *self._pointwise(filters, "projection_pointwise"),
        ]

    def _main(self, middle, filters):
        return [
            *self._pointwise(middle, "pointwise1"),
            *self._depthwise("depthwise"),
            self._norm("depthwise_bn"),
            *self._pointwise(filters, "pointwise2"),
        ]

    def _pointwise(self, filters, name):
        conv = keras.layers.Conv2D(
            filters, 1, use_bias=False, data_format=self.data_format, **self._common(name)
        )
        return [conv, self._norm(f"{name}_bn"), keras.layers.ReLU(**self._common(f"{name}_relu"))]

    def _depthwise(self, name):
        symmetric = self.padding == "symmetric" and self.strides == 2
        conv = DepthwiseConv2D(
            3,
            strides=self.strides,
            padding="valid" if symmetric else "same",
            use_bias=False,
            data_format=self.data_format,
            **self._common(name),
        )
        if not symmetric:
            return [conv]
        common = self._common(f"{name}_pad")
        return [keras.layers.ZeroPadding2D(1, data_format=self.data_format, **common), conv]

    def _norm(self, name):
        return keras.layers.BatchNormalization(
            axis=channel_axis(self.data_format), momentum=0.9, epsilon=1e-5, **self._common(name)
        )

    def _common(self, name):
        return {"name": name, "dtype": self.dtype_policy}


def _build_chain(layers, shape):
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)


def _run_chain(layers, x, training):
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            x = layer(x, training=training)
        else:
            x = layer(x)
    return x
