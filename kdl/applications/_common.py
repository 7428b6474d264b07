"""Arguments that all applications have in common, and the parts of a network made from them."""

import dataclasses

import keras

from kdl._checks import check_choice, check_integer
from kdl._compat import operation_of
from kdl._typing import Activation, DType, Path, Shape, Tensor
from kdl.layers._chain import run_chain
from kdl.layers._layer_factory import LayerFactory
from kdl.ops.channels import channel_axis


def bind_arguments(arguments: dict) -> tuple[dict, "CommonArguments"]:
    """Split the arguments of a family's constructor into its own and those of every application.

    Args:
        arguments: `locals()` in the constructor's first line.

    Returns:
        Dict of the family's own arguments, for `get_config`, and the `CommonArguments`, checked.

    Raises:
        ValueError: If one of the common arguments is out of range.
    """
    shared = {field.name for field in dataclasses.fields(CommonArguments)}
    common = CommonArguments(**{name: arguments[name] for name in shared})
    skipped = {*shared, "self", "__class__"}
    return {name: arguments[name] for name in arguments if name not in skipped}, common


@dataclasses.dataclass
class CommonArguments:
    """Arguments of every application, as `kdl.applications.Application` documents them."""

    include_top: bool
    weights: Path | None
    input_tensor: keras.KerasTensor | None
    input_shape: Shape | None
    pooling: str | None
    classes: int
    classifier_activation: Activation
    dtype: DType
    data_format: str  # None is Keras's setting, which `__post_init__` looks up
    name: str | None

    def __post_init__(self):
        check_choice("pooling", self.pooling, (None, "avg", "max"))
        if self.include_top:
            self.classes = check_integer("classes", self.classes)
        self.dtype = keras.dtype_policies.get(self.dtype or keras.config.dtype_policy())
        self.data_format = self.data_format or keras.config.image_data_format()

    def inputs(self, default_size: int = 224, minimum: int = 32) -> keras.KerasTensor:
        """The `keras.Input` of the application, checked.

        Args:
            default_size: Height and width with top; without, they are dynamic.
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
        if self.input_tensor is None:
            self.input_tensor = keras.Input(shape)
        return self.input_tensor

    def factory(self, padding: str, epsilon: float = 1e-5, momentum: float = 0.9) -> LayerFactory:
        """The `LayerFactory` of the network."""
        return LayerFactory(padding, self.data_format, self.dtype, epsilon, momentum)

    def block_arguments(self, factory: LayerFactory) -> dict:
        """Arguments that every block of the network is given beside its own."""
        return {
            "padding": factory.padding,
            "epsilon": factory.epsilon,
            "momentum": factory.momentum,
            "data_format": factory.data_format,
            "dtype": factory.dtype,
        }

    def head(
        self, x: Tensor, dropout: float = 0.0, use_bias: bool = True, hidden: int | None = None
    ) -> Tensor:
        """Global pooling and classifier, as the arguments ask.

        The classifier computes in float32 under every dtype policy, for the softmax's sake.

        Args:
            x: Last feature map.
            dropout: Fraction dropped before the classifier.
            use_bias: True for a classifier with a bias.
            hidden: Units of a dense layer with hard-swish before the dropout; None for no such.
        """
        if not self.include_top:
            return self.pool(x)
        x = self.pool(x, "avg")
        if hidden:
            layer = keras.layers.Dense(hidden, dtype=self.dtype, name="classifier_hidden")
            x = keras.layers.Activation("hard_silu", dtype=self.dtype, name="hidden_act")(layer(x))
        if dropout:
            x = keras.layers.Dropout(dropout, name="dropout")(x)
        return keras.layers.Dense(
            self.classes,
            self.classifier_activation,
            use_bias=use_bias,
            dtype="float32",
            name="classifier",
        )(x)

    def pool(self, x: Tensor, pooling: str | None = None) -> Tensor:
        """Global `pooling` of a feature map; by default that of the argument `pooling`."""
        kinds = {
            None: None,
            "avg": keras.layers.GlobalAveragePooling2D,
            "max": keras.layers.GlobalMaxPooling2D,
        }
        layer = kinds[pooling or self.pooling]
        return x if layer is None else layer(self.data_format, dtype=self.dtype, name="pool")(x)

    def config(self) -> dict:
        """These arguments as plain data; `weights` is None, so that a reload never downloads."""
        return {
            "include_top": self.include_top,
            "weights": None,
            "input_tensor": None,
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


class StrideTracker:
    """Turns strides beyond `output_stride` into dilation, and records the pyramid of tensors.

    `pyramid` holds the last tensor of each stride, `stages` that of each stride as it would be
    without dilation.

    A convolution that gives up its stride of 2 sees the same pixels as before; those after it see
    them twice as far apart, so their dilation doubles. With symmetric padding every `2ⁿ`-th pixel
    of the result equals the undilated network's.

    Args:
        output_stride: Largest stride of the network: 8, 16 or 32.

    Raises:
        ValueError: If it is another number.

    Source: Dilated Residual Networks (arXiv 1705.09914), section 2; the first convolution has the
    dilation of the stage before, as in torchvision.

    Example:
        >>> strides = StrideTracker(8)
        >>> [strides.next(2) for _ in range(5)]
        [(2, 1), (2, 1), (2, 1), (1, 1), (1, 2)]
        >>> strides.next(1)
        (1, 4)
    """

    def __init__(self, output_stride: int) -> None:
        check_choice("output_stride", output_stride, (8, 16, 32))
        self.output_stride = output_stride
        self.stride = 1
        self.dilation = 1
        self.pyramid = {}
        self.stages = {}

    def next(self, strides: int) -> tuple[int, int]:
        """`(strides, dilation rate)` of the next convolution, which asks for `strides`."""
        dilation = self.dilation
        if self.stride * strides > self.output_stride:
            self.dilation *= strides
            return 1, dilation
        self.stride *= strides
        return strides, dilation

    def record(self, x: Tensor) -> Tensor:
        """Record `x` as the last tensor so far of the present stride, and return it."""
        self.pyramid[f"P{self.stride.bit_length() - 1}"] = x
        self.stages[f"P{(self.stride * self.dilation).bit_length() - 1}"] = x
        return x


def chain(x: Tensor, *layers: keras.layers.Layer | list) -> Tensor:
    """Apply layers, given one by one or in lists, to a tensor."""
    flat = []
    for layer in layers:
        flat.extend(layer if isinstance(layer, list) else [layer])
    return run_chain(flat, x)


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and at least nine tenths of `channels`.

    Widths of MobileNets are rounded so.
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _is_input(tensor):
    return isinstance(operation_of(tensor), keras.layers.InputLayer)
