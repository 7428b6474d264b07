"""The arguments that all image classifiers have in common, and the parts made from them."""

import dataclasses

import keras

from kdl._checks import check_integer
from kdl.layers._block import check_choice
from kdl.layers._chain import run_chain
from kdl.layers._maker import LayerMaker
from kdl.ops.channels import channel_axis


@dataclasses.dataclass
class CommonArguments:
    """Arguments of every application; they mean what they mean in `keras.applications`.

    Attributes:
        include_top: Whether to add the classifier.
        input_tensor: A `keras.Input` to build on, or None.
        input_shape: Shape without batch, or None.
        pooling: Without top: None, `"avg"` or `"max"`.
        classes: Number of classes.
        classifier_activation: Activation of the classifier.
        dtype: Dtype policy, or None for the global one.
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras's setting.
    """

    include_top: bool
    input_tensor: keras.KerasTensor | None
    input_shape: tuple | None
    pooling: str | None
    classes: int
    classifier_activation: object
    dtype: object
    data_format: str | None

    def __post_init__(self):
        check_choice("pooling", self.pooling, (None, "avg", "max"))
        if self.include_top:
            self.classes = check_integer("classes", self.classes)
        self.dtype = keras.dtype_policies.get(self.dtype or keras.config.dtype_policy())
        self.data_format = self.data_format or keras.config.image_data_format()

    def inputs(self, default_size=224, minimum=32):
        """The `keras.Input` of the application, checked.

        Args:
            default_size: Height and width with top; without, they are open.
            minimum: Smallest height and width, the total stride.

        Raises:
            ValueError: If the shape is not that of an image, or too small, or the tensor is not an
                input.
        """
        shape = self._shape(default_size)
        if len(shape) != 3:
            raise ValueError(
                f"input_shape must be three numbers, such as (224, 224, 3); received {shape}."
            )
        channels_last = channel_axis(self.data_format) == -1
        sizes = shape[:2] if channels_last else shape[1:]
        channels = shape[-1] if channels_last else shape[0]
        if channels is None or channels < 1:
            raise ValueError(f"The number of channels must be known; received {shape}.")
        if any(size is not None and size < minimum for size in sizes):
            raise ValueError(
                f"The input must be at least {minimum}×{minimum} pixels; received input_shape="
                f"{shape}. Enlarge the images, for instance with keras.layers.Resizing."
            )
        self.input_shape = shape
        return self.input_tensor if self.input_tensor is not None else keras.Input(shape)

    def maker(self, padding, epsilon=1e-5, momentum=0.9):
        """The `LayerMaker` of the network."""
        return LayerMaker(padding, self.data_format, self.dtype, epsilon, momentum)

    def block_arguments(self, make):
        """What the blocks of the network are given beside their own arguments."""
        return {
            "padding": make.padding,
            "epsilon": make.epsilon,
            "momentum": make.momentum,
            "data_format": make.data_format,
            "dtype": make.dtype,
        }

    def head(self, x, dropout=0.0, use_bias=True):
        """Global pooling and classifier, as the arguments ask.

        The classifier computes in float32 under every dtype policy, for the softmax's sake.

        Args:
            x: Last feature map.
            dropout: Fraction dropped before the classifier.
            use_bias: Whether the classifier has a bias.
        """
        if not self.include_top:
            return self.pool(x)
        x = self.pool(x, "avg")
        if dropout:
            x = keras.layers.Dropout(dropout, name="dropout")(x)
        return keras.layers.Dense(
            self.classes,
            self.classifier_activation,
            use_bias=use_bias,
            dtype="float32",
            name="classifier",
        )(x)

    def pool(self, x, pooling=None):
        """Global `pooling` of a feature map; by default that of the argument `pooling`."""
        kinds = {
            None: None,
            "avg": keras.layers.GlobalAveragePooling2D,
            "max": keras.layers.GlobalMaxPooling2D,
        }
        layer = kinds[pooling or self.pooling]
        return x if layer is None else layer(self.data_format, dtype=self.dtype, name="pool")(x)

    def config(self):
        """These arguments as plain data."""
        return {
            "include_top": self.include_top,
            "input_shape": self.input_shape,
            "pooling": self.pooling,
            "classes": self.classes,
            "classifier_activation": _activation_name(self.classifier_activation),
            "dtype": self.dtype.name,
            "data_format": self.data_format,
        }

    def _shape(self, default_size):
        if self.input_tensor is None:
            if self.input_shape is not None:
                return tuple(self.input_shape)
            size = default_size if self.include_top else None
            return (size, size, 3) if channel_axis(self.data_format) == -1 else (3, size, size)
        if not _is_input(self.input_tensor):
            raise ValueError(
                "input_tensor must be a keras.Input. To use another tensor, call the model on it: "
                "`features = model(tensor)`."
            )
        shape = tuple(self.input_tensor.shape[1:])
        if self.input_shape is not None and tuple(self.input_shape) != shape:
            raise ValueError(
                f"input_shape={tuple(self.input_shape)} contradicts input_tensor: {shape}."
            )
        return shape


def _activation_name(activation):
    """An activation as plain data; Keras's `serialize` imports TensorFlow where it is installed."""
    if isinstance(activation, str):
        return activation
    function = keras.activations.get(activation)
    name = getattr(function, "__name__", "")
    if getattr(keras.activations, name, None) is function:
        return name
    return keras.activations.serialize(function)


class Strides:
    """Turns strides beyond `output_stride` into dilation, and keeps the pyramid of tensors.

    `pyramid` holds the last tensor of each stride, `stages` that of each stride as it would be
    without dilation.

    A convolution that gives up its stride of 2 sees the same pixels as before; those after it see
    them twice as far apart, so their dilation doubles. With symmetric padding every `2ⁿ`-th pixel
    of the result equals the undilated network's.

    Args:
        output_stride: Largest stride of the network: 8, 16 or 32.

    Raises:
        ValueError: If it is another number.

    Source: Dilated Residual Networks (arXiv 1705.09914), section 2; the first convolution keeps the
    dilation of the stage before, as in torchvision.

    Example:
        >>> strides = Strides(8)
        >>> [strides.step(2) for _ in range(5)]
        [(2, 1), (2, 1), (2, 1), (1, 1), (1, 2)]
        >>> strides.step(1)
        (1, 4)
    """

    def __init__(self, output_stride):
        check_choice("output_stride", output_stride, (8, 16, 32))
        self.output_stride = output_stride
        self.stride = 1
        self.dilation = 1
        self.pyramid = {}
        self.stages = {}

    def step(self, strides):
        """`(strides, dilation rate)` of the next convolution, which asks for `strides`."""
        dilation = self.dilation
        if self.stride * strides > self.output_stride:
            self.dilation *= strides
            return 1, dilation
        self.stride *= strides
        return strides, dilation

    def keep(self, x):
        """Notes `x` as the last tensor so far of the present stride, and returns it."""
        self.pyramid[f"P{self.stride.bit_length() - 1}"] = x
        self.stages[f"P{(self.stride * self.dilation).bit_length() - 1}"] = x
        return x


def chain(x, *layers):
    """Applies layers, given one by one or in lists, to a tensor."""
    flat = []
    for layer in layers:
        flat.extend(layer if isinstance(layer, list) else [layer])
    return run_chain(flat, x)


def _is_input(tensor):
    history = getattr(tensor, "_keras_history", None)
    return history is not None and isinstance(history.operation, keras.layers.InputLayer)
