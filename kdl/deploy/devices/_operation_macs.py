"""Multiply-adds of the operations of a `.tflite` file."""

import collections
import math

from kdl.deploy.devices._operation_facts import widens_constants

# The graphs that an operation runs all of, and those of which it runs one, by their options.
_ALL = {"WHILE": ("condSubgraphIndex", "bodySubgraphIndex")}
_ONE_OF = {"IF": ("thenSubgraphIndex", "elseSubgraphIndex")}


def counted_macs(operations):
    """Multiply-adds of each operation in one run of a file.

    Of the branches of an IF the one with more is counted, and the body of a WHILE once. What is run
    once and never again (CALL_ONCE), or by another signature, counts nothing.

    Args:
        operations: The `FileOperation`s of a file, those of its main graph first.

    Returns:
        List of numbers, one for each operation.
    """
    macs = [operation_macs(operation) for operation in operations]
    graphs = collections.defaultdict(list)
    for operation, count in zip(operations, macs, strict=True):
        graphs[operation.graph].append((operation, count))
    counted = _most(graphs, 0, ())[1]
    return [
        count if operation.graph in counted else 0
        for operation, count in zip(operations, macs, strict=True)
    ]


def _most(graphs, number, callers):
    """`(multiply-adds, numbers of the graphs that are counted)` of a graph and what it calls."""
    if number in callers:  # a file may say anything
        return 0, set()
    total, counted = 0, {number}
    for operation, count in graphs[number]:
        parts = [
            _most(graphs, operation.option(option, 0), (*callers, number))
            for option in (*_ALL.get(operation.name, ()), *_ONE_OF.get(operation.name, ()))
        ]
        if operation.name in _ONE_OF:
            parts = [max(parts, key=lambda part: part[0])]
        total += count + sum(part[0] for part in parts)
        counted.update(*(part[1] for part in parts))
    return total, counted


def uncounted(operations):
    """Names of operations of a file that multiply, of which it is not known how often, sorted.

    Args:
        operations: The `FileOperation`s.
    """
    names = {operation.name for operation in operations} - {*_COUNTS}
    return sorted(name for name in names if name.startswith("custom:") or name in _UNCOUNTED)


def operation_macs(operation):
    """Multiply-adds of one run of a `FileOperation`; 0 for what multiplies no matrices."""
    count = _COUNTS.get(operation.name)
    return count(operation) if count else 0


def _convolution(operation):
    """Kernel `(filters, …, width)`: each output value is a product of all but the filters."""
    return operation.outputs[0].elements * math.prod(operation.inputs[1].shape[1:])


def _depthwise(operation):
    """Kernel `(1, height, width, channels)`."""
    return operation.outputs[0].elements * math.prod(operation.inputs[1].shape[1:3])


def _convolution_3d(operation):
    """Kernel `(depth, height, width, channels, filters)`."""
    return operation.outputs[0].elements * math.prod(operation.inputs[1].shape[:4])


def _transposed(operation):
    """Kernel `(filters, height, width, channels)`; each input pixel spreads over a window."""
    return operation.inputs[2].elements * math.prod(operation.inputs[1].shape[:3])


def _fully_connected(operation):
    return operation.outputs[0].elements * operation.inputs[1].shape[-1]


def _transposed_3d(operation):
    """Kernel `(depth, height, width, filters, channels)`; as `_transposed`."""
    return operation.inputs[2].elements * math.prod(operation.inputs[1].shape[:4])


def _transposed_with_bias(operation):
    """MediaPipe's form of `_transposed`, which takes the image first."""
    kernel = operation.input(1)  # what custom operations take, no schema says
    return operation.inputs[0].elements * math.prod(kernel.shape[:3]) if kernel else 0


def _recurrent(operation):
    """All matrices of weights, once for each step of each sample."""
    sequences, *others = zip(operation.inputs, operation.producers, strict=True)
    weights = [x for x, producer in others if _is_matrix(x) and _is_constant(x, producer)]
    steps = sequences[0].elements // max(sequences[0].shape[-1], 1)
    return steps * sum(x.elements for x in weights)


def _is_matrix(x):
    return x is not None and x.rank == 2


def _is_constant(x, producer):
    return x.constant or (producer is not None and widens_constants(producer))


def _product(operation):
    contracted = -2 if operation.option("adjX") else -1
    return operation.outputs[0].elements * operation.inputs[0].shape[contracted]


_COUNTS = {
    "CONV_2D": _convolution,
    "CONV_3D": _convolution_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _product,
    "CONV_3D_TRANSPOSE": _transposed_3d,
    "custom:Convolution2DTransposeBias": _transposed_with_bias,
    **dict.fromkeys(
        (
            *("BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN", "SVDF"),
            *("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN"),
        ),
        _recurrent,
    ),
}

# Parts of a graph that stand as one operation, beside custom ones.
_UNCOUNTED = ("CALL", "DELEGATE", "STABLEHLO_COMPOSITE", "STABLEHLO_CUSTOM_CALL")
