"""Base class of the composite layers."""

import functools

import keras

from kdl._compat import all_layers
from kdl.layers._layer_factory import LayerFactory
from kdl.layers.normalization.convert_sync_batch_norm import (
    synchronization,
    synchronize_as,
)

_SYNCHRONIZED = "synchronized"


class Block(keras.layers.Layer):
    """Base of the composite layers, which are transparent.

    A block makes its sub-layers in `build`, and its `call` uses only them and `keras.ops`, so that
    `block.call(symbolic_tensor)` yields the graph inside. Names of sub-layers are unique within a
    block.

    Args:
        padding: `"symmetric"` (default; as many pixels on each side, as PyTorch pads) or `"same"`
            (TensorFlow's rule). They differ with stride 2 only.
        epsilon: Epsilon of batch normalization. Defaults to 1e-5.
        momentum: Momentum of batch normalization. Defaults to 0.9.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.
    """

    def __init__(self, padding="symmetric", epsilon=1e-5, momentum=0.9, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.padding = padding
        self.epsilon = epsilon
        self.momentum = momentum
        self.data_format = data_format or keras.config.image_data_format()
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self._factory = LayerFactory(
            padding, self.data_format, self.dtype_policy, epsilon, momentum
        )

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _then_frozen(cls.build)

    def get_build_config(self):
        """The input's shape, and whether the norms inside are synchronized.

        A file keeps the weights of a list of layers under the names of their classes.
        """
        config, synchronized = super().get_build_config(), synchronization(self)
        return {**config, _SYNCHRONIZED: synchronized} if config and synchronized else config

    def build_from_config(self, config):
        """Builds the block as `get_build_config` tells."""
        super().build_from_config(config)
        if config and _SYNCHRONIZED in config:
            synchronize_as(self, **config[_SYNCHRONIZED])

    def get_config(self):
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            padding=self.padding,
            epsilon=self.epsilon,
            momentum=self.momentum,
            data_format=self.data_format,
        )
        return config

    def _width(self, shape):
        """Channels of an input of this shape, which must be known."""
        width = shape[self._factory.axis]
        if width is None:
            raise ValueError("The number of input channels must be known; received None.")
        return width

    def _resized(self, shape, strides, filters):
        """`shape` with its height and width over the stride, and `filters` channels."""
        resized = [n if n is None else -(-n // strides) for n in shape]
        resized[0], resized[self._factory.axis] = shape[0], filters
        return tuple(resized)


def _then_frozen(build):
    """`build`, after which a frozen block's sub-layers are frozen, which were not there before."""

    @functools.wraps(build)
    def then_frozen(block, *args, **kwargs):
        build(block, *args, **kwargs)
        if not block.trainable:
            for layer in all_layers(block):
                layer.trainable = False

    return then_frozen
