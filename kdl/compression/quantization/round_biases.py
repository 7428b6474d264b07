"""Quantization of biases to the integers of an int8 file."""

import keras
import numpy as np
from keras import ops

from kdl.compression.quantization._rules import SAME_RANGE, number_after
from kdl.compression.quantization.quantize_aware import QUANTIZED_LAYERS
from kdl.graph.read_graph import read_graph
from kdl.layers import FakeQuantize


def round_biases(model: keras.Model) -> None:
    """Rounds the biases of a quantized model, in place, to the integers that its file will hold.

    A file holds biases as 32-bit integers: `b ← s_x · s_w · round(b / (s_x · s_w))`, with the
    scales of the input and of the weights. That is less than half of the last digit of a sum of
    products, but a sum near a tie goes the other way in the file, and after some dozen layers many
    numbers differ. With rounded biases XNNPACK's results differ from the model's in some ten of a
    million numbers a layer, where float32 does not tell the sides of a tie.

    `calibrate` does it. After training, which moves biases and scales, call it before export. A
    layer that is called on several inputs, or on one that is not quantized, keeps its bias.

    Args:
        model: What `calibrate` or `quantize_aware` gave, trained or not.

    Raises:
        ValueError: If the model is not functional, or none of its layers is quantized.

    Source: Jacob et al. (arXiv 1712.05877), section 2.4.

    Example:
        >>> import keras, numpy as np
        >>> from kdl.compression import quantize_aware
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        >>> data = np.random.default_rng(0).random((16, 4), "float32")
        >>> quantized, _ = quantize_aware(model, data, verbose=0)
        >>> round_biases(quantized)
    """
    graph = read_graph(model)
    if not any(isinstance(node.operation, FakeQuantize) for node in graph.nodes):
        raise ValueError(
            f"Expected a model that calibrate or quantize_aware gave; no layer of {model.name} is "
            f"quantized."
        )
    producers, consumers, calls = graph.producers(), graph.consumers(), graph.calls()
    for node in graph.nodes:
        layer = node.operation
        if not isinstance(layer, QUANTIZED_LAYERS) or not layer.use_bias or calls[id(layer)] > 1:
            continue
        before = _rounded_by(node.inputs[0], producers)
        if before is not None:
            unit = before.scale * ops.convert_to_numpy(layer.weight_scales)
            # The converter makes a number that is added part of the bias.
            number = number_after(node, consumers)
            bias = ops.convert_to_numpy(layer.bias) + number
            # Where an input was always zero, it has no scale, and the bias none to keep to.
            integers = np.divide(bias, unit, out=np.zeros_like(bias), where=unit > 0)
            rounded = np.where(unit > 0, np.round(integers) * unit, bias)
            layer.bias.assign(rounded - number)


def _rounded_by(tensor, producers):
    """The `FakeQuantize` layer that gives a tensor its scale; None if there is none."""
    node = producers.get(id(tensor))
    while node is not None and node.kind in SAME_RANGE:
        node = producers.get(id(node.inputs[0]))
    rounded = node is not None and isinstance(node.operation, FakeQuantize)
    return node.operation if rounded else None
