"""Makes the layers of one network: its padding, data format, dtype and batch norm in one place."""

import dataclasses

import keras

from kdl.layers.convolution.conv2d import Conv2D
from kdl.layers.convolution.depthwise_conv2d import DepthwiseConv2D
from kdl.layers.convolution.grouped_conv2d import GroupedConv2D
from kdl.layers.normalization.batch_normalization import BatchNormalization
from kdl.layers.pooling.average_pooling2d import AveragePooling2D
from kdl.layers.pooling.max_pooling2d import MaxPooling2D
from kdl.ops.channels import channel_axis

PADDINGS = ("symmetric", "same")
ACTIVATIONS = ("relu", "relu6", "hard_swish")


@dataclasses.dataclass(frozen=True)
class LayerFactory:
    """Conventions of a network, and the layers that follow them.

    Methods that may need more than one layer return a list, to be run one after the other.

    Attributes:
        padding: `"symmetric"` (the same number of pixels on each side, as PyTorch pads) or
            `"same"` (TensorFlow's rule: with stride 2 the odd pixel goes right and down).
        data_format: `"channels_last"` or `"channels_first"`.
        dtype: Dtype policy of the layers.
        epsilon: Epsilon of batch normalization.
        momentum: Momentum of batch normalization, as Keras counts it.
    """

    padding: str
    data_format: str
    dtype: keras.DTypePolicy
    epsilon: float = 1e-5
    momentum: float = 0.9

    def __post_init__(self):
        if self.padding not in PADDINGS:
            raise ValueError(f"padding must be one of {PADDINGS}; received {self.padding!r}.")

    @property
    def axis(self):
        """Axis of the channels."""
        return channel_axis(self.data_format)

    def conv(
        self,
        filters,
        kernel_size,
        name,
        strides=1,
        groups=1,
        dilation_rate=1,
        use_bias=False,
        activation=None,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
    ):
        """Padding if needed, and a convolution called `name`."""
        pad, padding = self._pad(kernel_size, strides, dilation_rate, name)
        arguments = {
            "strides": strides,
            "padding": padding,
            "dilation_rate": dilation_rate,
            "use_bias": use_bias,
            "activation": activation,
            "kernel_initializer": kernel_initializer,
            "bias_initializer": bias_initializer,
            **self._common(name),
        }
        if groups > 1:
            return [*pad, GroupedConv2D(filters, kernel_size, groups, **arguments)]
        return [*pad, Conv2D(filters, kernel_size, **arguments)]

    def depthwise(self, kernel_size, name, strides=1, dilation_rate=1):
        """Padding if needed, and a depthwise convolution called `name`."""
        pad, padding = self._pad(kernel_size, strides, dilation_rate, name)
        conv = DepthwiseConv2D(
            kernel_size,
            strides=strides,
            padding=padding,
            dilation_rate=dilation_rate,
            use_bias=False,
            **self._common(name),
        )
        return [*pad, conv]

    def norm(self, name):
        """Batch normalization."""
        return BatchNormalization(
            axis=self.axis,
            momentum=self.momentum,
            epsilon=self.epsilon,
            name=name,
            dtype=self.dtype,
        )

    def relu(self, name, max_value=None):
        """ReLU, or ReLU6 with `max_value=6.0`."""
        return keras.layers.ReLU(max_value, name=name, dtype=self.dtype)

    def activation(self, kind, name):
        """One of `ACTIVATIONS`; hard-swish is `x · min(max(x + 3, 0), 6) / 6`."""
        if kind == "hard_swish":
            return keras.layers.Activation("hard_silu", name=name, dtype=self.dtype)
        return self.relu(name, 6.0 if kind == "relu6" else None)

    def max_pool(self, name, strides=2):
        """3×3 max-pool of values that are not negative, so that zeros may stand for −∞."""
        return self._pool(MaxPooling2D, 3, strides, name)

    def ceil_max_pool(self, name, strides=2):
        """3×3 max-pool as in Caffe: no padding, but the last window may hang over the border.

        The zero on the right and at the bottom stands for −∞ after a ReLU; where the windows end
        before it, nothing sees it.
        """
        return [
            keras.layers.ZeroPadding2D(((0, 1), (0, 1)), **self._common(f"{name}_pad")),
            MaxPooling2D(3, strides, **self._common(name)),
        ]

    def average_pool(self, name, strides):
        """3×3 average; with symmetric padding its zeros count, as in PyTorch."""
        return self._pool(AveragePooling2D, 3, strides, name)

    def ceil_average_pool(self, size, name):
        """Average over `size`×`size` tiles, those at the border over what is there of them."""
        return AveragePooling2D(size, size, padding="same", **self._common(name))

    def _pool(self, cls, size, strides, name):
        if self.padding == "same":
            return [cls(size, strides, padding="same", **self._common(name))]
        return [self._zeros(size // 2, name), cls(size, strides, **self._common(name))]

    def _pad(self, kernel_size, strides, dilation_rate, name):
        if strides == 1 or kernel_size == 1 or self.padding == "same":
            return [], "same"
        return [self._zeros(kernel_size // 2 * dilation_rate, name)], "valid"

    def _zeros(self, pixels, name):
        return keras.layers.ZeroPadding2D(pixels, **self._common(f"{name}_pad"))

    def _common(self, name):
        return {"name": name, "dtype": self.dtype, "data_format": self.data_format}
