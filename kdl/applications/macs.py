"""Multiply-adds of a model."""

import math

import keras

from kdl.layers._inline import visit


def macs(model, input_shape=None):
    """Counts the multiply-adds of all convolutions and dense layers, for one input.

    A convolution counts `rows · columns · size of its kernel`, a dense layer the size of its kernel
    at every position. Composite layers and nested models are looked into. Nothing is computed.

    Args:
        model: A functional or Sequential model.
        input_shape: Shape without batch, for a model whose input size is open or another is meant.

    Returns:
        The number, an integer.

    Raises:
        ValueError: If the model is not functional, or its input size is open and not given.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> macs(keras.Model(inputs, keras.layers.Conv2D(4, 3, padding="same")(inputs)))
        6912
    """
    counts = []

    def see(operation, args, outputs):
        counts.append(_count(operation, args, outputs))

    visit(model if input_shape is None else _resized(model, tuple(input_shape)), see)
    return sum(counts)


def _count(operation, args, outputs):
    kernels = [w for w in getattr(operation, "weights", []) if w.name.endswith("kernel")]
    if not kernels:
        return 0
    if len(kernels) > 1:
        raise ValueError(
            f"{operation.name} is a {type(operation).__name__}, whose multiply-adds macs cannot "
            f"count: it has {len(kernels)} kernels."
        )
    shape = tuple(args[0].shape if "Transpose" in type(operation).__name__ else outputs.shape)
    sides = shape[1:-1]
    if getattr(operation, "data_format", "channels_last") == "channels_first":
        sides = shape[2:]
    if None in sides:
        raise ValueError(
            f"The input size is open: {operation.name} gives shape {shape}. Pass input_shape."
        )
    return math.prod(sides) * math.prod(kernels[0].shape)


def _resized(model, input_shape):
    inputs = keras.Input(input_shape, dtype=model.inputs[0].dtype)
    return keras.models.clone_model(model, inputs, clone_function=lambda layer: layer)
