"""Quantization-aware training."""

import functools
from typing import Any

import keras

from kdl import layers
from kdl._checks import check_choice
from kdl._compat import mask_of
from kdl.compression.quantization._decompose import decompose
from kdl.compression.quantization._keep_mask import KeepMask
from kdl.compression.quantization._observe_ranges import observe_ranges
from kdl.compression.quantization._operations import ALMOST_ONE
from kdl.compression.quantization._placement import place
from kdl.compression.quantization.quantization_report import KeptFloat, QuantizationReport
from kdl.data.reading import inputs_for_predict
from kdl.graph import copy_layer
from kdl.graph.fold_batch_norm import fold
from kdl.graph.inline import inline
from kdl.graph.kinds import is_float, kind_of, own_dtype
from kdl.graph.read_graph import read_graph
from kdl.graph.rebuild import FORM_ARGUMENTS, plain_copy, rebuild
from kdl.layers.quantization.fake_quantize import OBSERVERS
from kdl.ops.quantization import check_bits

_QUANTIZED: dict[str, Any] = {
    "Conv2D": layers.QuantizedConv2D,
    "Conv2DTranspose": layers.QuantizedConv2DTranspose,
    "Dense": layers.QuantizedDense,
    "DepthwiseConv2D": layers.QuantizedDepthwiseConv2D,
    "GroupedConv2D": layers.QuantizedConv2D,
}
# Float products of which the converter makes one of integers by floats, if it sees integers.
_PRODUCTS = (
    *("AdditiveAttention", "Attention", "Dot", "Einsum", "EinsumDense", "GroupedQueryAttention"),
    *("Matmul", "MultiHeadAttention"),
)
QUANTIZED_LAYERS = tuple(_QUANTIZED.values())


def quantize_aware(
    model: keras.Model,
    data: Any,
    weight_bits: int = 8,
    activation_bits: int = 8,
    batch_norm: str = "fold",
    observer: str = "ema",
    momentum: float = 0.99,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> tuple[keras.Model, QuantizationReport]:
    """Quantization-aware training: a model that computes and trains as its int8 file computes.

    Weights are quantized as `kdl.ops.fake_quantize_weights` says: symmetric, a scale for each
    channel of a convolution. `kdl.layers.FakeQuantize` quantizes activations where they are made,
    to a range that was first observed on `data` and in training follows the batches. What only
    moves numbers (concatenation, split, channel shuffle, pooling, padding, resizing) keeps the
    range of its inputs, and what it joins shares one. Sums need none: TFLite rescales their terms.

    Train the result with `fit`, on any backend, call `round_biases` on it, save and load it, and
    export it with `kdl.deploy.export_tflite(model, path, "int8")`, which then needs no data. Where
    something stays float, the file holds it so, with a warning.

    Args:
        model: A functional or Sequential model, built; its own weights are not touched.
        data: Inputs on which ranges are observed, some hundred: what `model.predict` takes, or
            what `kdl.data.read_samples` does. Labels are not used.
        weight_bits: Integer from 2 to 8. Defaults to 8.
        activation_bits: Integer from 2 to 8. Defaults to 8.
        batch_norm: `"fold"` (default): batch norms become part of the layers before them, with the
            statistics at hand. `"live"`: they go on to follow the batches, and the file's
            converter folds them.
        observer: `"ema"` (default) or `"min_max"`; see `kdl.layers.FakeQuantize`.
        momentum: Of the moving average. Defaults to 0.99.
        batch_size: Of the observation. Defaults to 32.
        verbose: 0, 1, 2 or `"auto"`, as in `predict`.

    Returns:
        Pair of a `keras.Model`, not compiled, and a `QuantizationReport` with a line for each
        operation that stays float.

    Raises:
        ValueError: If an argument is out of range, the model is not functional or has nothing that
            could be quantized, is quantized already, or `data` does not fit it or gives values that
            are not finite.

    Source: Jacob et al. (arXiv 1712.05877); Krishnamoorthi (arXiv 1806.08342).

    Example:
        >>> import keras, numpy as np
        >>> x = inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.ReLU()(keras.layers.Conv2D(4, 3)(x))
        >>> model = keras.Model(inputs, keras.layers.Flatten()(x))
        >>> data = np.random.default_rng(0).random((16, 8, 8, 3), "float32")
        >>> quantized, report = quantize_aware(model, data, verbose=0)
        >>> print(report)
        3 of 3 operations are quantized.
    """
    check_choice("batch_norm", batch_norm, ("fold", "live"))
    check_choice("observer", observer, OBSERVERS)
    weight_bits = check_bits("weight_bits", weight_bits, most=8)
    activation_bits = check_bits("activation_bits", activation_bits, most=8)
    graph = inline(read_graph(model))
    if any(isinstance(node.operation, layers.FakeQuantize) for node in graph.nodes):
        raise ValueError(
            f"{model.name} is quantized already. Train it further as it is, or pass the model that "
            f"it was made from."
        )
    graph = decompose(fold(graph) if batch_norm == "fold" else graph)
    placement = place(graph)
    if not placement.quantizers:
        raise ValueError(_nothing_to_quantize(graph, placement))

    def make_observer(name, **arguments):
        return layers.FakeQuantize(activation_bits, observer, momentum, name=name, **arguments)

    quantized = _build(graph, placement, weight_bits, make_observer)
    observe_ranges(quantized, inputs_for_predict(data, model), batch_size, verbose)
    return quantized, _report(graph, placement)


def _build(graph, placement, weight_bits, make_observer):
    observers = [
        make_observer(f"range_{number}", sites=len(names))
        for number, names in enumerate(placement.groups)
    ]
    fixed = {}

    def rounded(old, new):
        quantizer = placement.quantizers.get(id(old))
        if quantizer is None:
            return new
        if quantizer.fixed_range:
            name = f"fixed_range_{len(fixed)}"
            layer = fixed[name] = make_observer(name, fixed_range=quantizer.fixed_range)
            new = layer(new, ties=quantizer.ties)
        if quantizer.group is None:
            return new
        if quantizer.fixed_range:
            # Of two quantizations of one tensor the converter drops the second.
            new = _parted(new)
        return observers[quantizer.group](new, site=quantizer.site, ties=quantizer.ties)

    def call(node, operation, args, kwargs):
        if id(node) in placement.standalone_relus:
            # An int8 ReLU by itself runs on LiteRT's slow kernel, one after a product on XNNPACK.
            args = [keras.ops.multiply(args[0], ALMOST_ONE), *args[1:]]
        if node.kind in _PRODUCTS:
            args, kwargs = keras.tree.map_structure(_parted, (args, kwargs))
        outputs = operation(*args, **kwargs)
        fresh = keras.tree.flatten(outputs)
        if node.masked:
            fresh = [_masked_as_before(x, args) for x in fresh]
        if node.kind == "Discretization" or not any(map(is_float, node.inputs)):
            # Of one-hot rows the converter would round the numbers that it writes them with.
            fresh = [*map(_parted, fresh)]
        results = [rounded(old, new) for old, new in zip(node.results, fresh, strict=True)]
        return keras.tree.pack_sequence_as(outputs, results)

    copy = functools.partial(_quantized_copy, weight_bits)
    return rebuild(graph, copy, call, begin=rounded)


def _masked_as_before(x, args):
    """Output of an operation in place of a layer, which would have passed its mask on."""
    masked = [y for y in keras.tree.flatten(args) if mask_of(y) is not None]
    if mask_of(x) is not None or not masked:
        return x
    return KeepMask(dtype=own_dtype(x))(masked[0], x)


def _parted(x):
    """A float tensor by itself: the converter does not join what is before and after."""
    if not (keras.backend.is_keras_tensor(x) and is_float(x)):
        return x
    if mask_of(x) is not None:  # which an operation does not pass on
        return keras.layers.Rescaling(ALMOST_ONE, dtype=x.dtype)(x)
    return keras.ops.multiply(x, ALMOST_ONE)


def _quantized_copy(weight_bits, layer, name):
    """A copy of a layer, quantized if it has a kernel."""
    quantized = _QUANTIZED.get(kind_of(layer))
    if quantized is None:
        return plain_copy(layer, name)
    settings = {"name": name, "weight_bits": weight_bits}
    return copy_layer(layer, quantized, drop=FORM_ARGUMENTS, **settings)


def _nothing_to_quantize(graph, placement):
    reasons = _report(graph, placement).kept_float
    return "\n".join(
        [
            f"No operation of {graph.name} can be quantized: it has {len(graph.nodes)} operations, "
            f"none of them with weights, sums or products in an int8 form.",
            *map(str, reasons),
        ]
    )


def _report(graph, placement):
    quantized, kept = [], []
    for node in graph.nodes:
        name, reason = node.name, placement.reasons.get(id(node))
        if reason:
            kept.append(KeptFloat(name, node.kind, reason))
        else:
            quantized.append(name)
    shared = [names for names in placement.groups if len(names) > 1]
    return QuantizationReport(quantized, kept, shared)
