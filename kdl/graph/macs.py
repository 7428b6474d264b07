"""Count of the multiply-adds (MACs) of a model."""

import math
import re

import keras

from kdl._compat import all_layers
from kdl._typing import Shape
from kdl._words import counted
from kdl.graph.inline import visit
from kdl.graph.read_graph import check_functional
from kdl.graph.replay import replay


def macs(model: keras.Model, input_shape: Shape | None = None) -> int:
    """Count the multiply-adds of all convolutions and dense layers, for one input.

    A convolution counts `rows · columns · size of its kernel`, a separable one that of both its
    kernels, a dense layer the size of its kernel at every position. Composite layers of kdl and
    nested models are looked into. Nothing is computed.

    Args:
        model: A functional or Sequential model.
        input_shape: Shape without batch, for a model whose input size is dynamic, or to count for
            another.

    Returns:
        The number, an integer.

    Raises:
        ValueError: If the model is not functional, its input size is dynamic and not given, or
            another layer has kernels (attention, recurrent layers, blocks of others).

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> macs(keras.Model(inputs, keras.layers.Conv2D(4, 3, padding="same")(inputs)))
        6912
    """
    counts = []

    def see(operation, args, outputs):
        counts.append(_count(operation, args, outputs))

    check_functional(model)
    if input_shape is None:
        _check_sizes(model)
    visit(model if input_shape is None else _resized(model, tuple(input_shape)), see)
    return sum(counts)


def _check_sizes(model):
    """Raises ValueError if an input's size is dynamic and something counts by it.

    Composite layers cannot be looked into without it, and would say so in their own words.
    """
    shapes = [tuple(x.shape) for x in model.inputs if None in x.shape[1:]]
    if shapes and any(w.name.endswith("kernel") and len(w.shape) > 2 for w in model.weights):
        raise ValueError(
            f"The input size is dynamic: {model.name} takes the shape {shapes[0]}. Pass "
            f"input_shape."
        )


_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


def _count(operation, args, outputs):
    kernels = _kernels(operation)
    if not kernels:
        return 0
    if isinstance(operation, keras.layers.EinsumDense):
        sides = tuple(outputs.shape[1:])
        size = _products_in_a_sum(operation.equation, kernels[0].shape)
    else:
        sides = _positions(operation, args, outputs)
        size = sum(math.prod(kernel.shape) for kernel in kernels)
    if None in sides:
        raise ValueError(
            f"The input size is dynamic: {operation.name} gives shape {tuple(outputs.shape)}. Pass "
            f"input_shape."
        )
    return math.prod(sides) * size


def _kernels(operation):
    """The kernels of a layer: one, or the two of a separable convolution."""
    if getattr(operation, "quantization_mode", None):
        return [operation.kernel]  # the variable itself may hold two numbers of 4 bits in a byte
    kernels = [w for w in getattr(operation, "weights", []) if w.name.endswith("kernel")]
    if not kernels or isinstance(operation, _SEPARABLE):
        return kernels
    whole = isinstance(operation, keras.layers.Wrapper) or len(all_layers(operation)) == 1
    if whole and len(kernels) == 1:
        return kernels
    raise ValueError(
        f"{operation.name} is a {type(operation).__name__}, whose multiply-adds macs cannot "
        f"count: it has {counted(len(kernels), 'kernel')}, and nothing tells how often each is "
        f"applied."
    )


def _positions(operation, args, outputs):
    """Sizes of the axes along which a kernel is applied."""
    shape = tuple(args[0].shape if "Transpose" in type(operation).__name__ else outputs.shape)
    first = getattr(operation, "data_format", "channels_last") == "channels_first"
    return shape[2:] if first else shape[1:-1]


def _products_in_a_sum(equation, shape):
    """The number of products in each sum of an `EinsumDense`, from the shape of its kernel."""
    _, kernel, output = re.split(",|->", equation)
    return math.prod(n for axis, n in zip(kernel, shape, strict=True) if axis not in output)


def _resized(model, input_shape):
    inputs = keras.Input(input_shape, dtype=model.inputs[0].dtype)
    return replay(model, inputs)
