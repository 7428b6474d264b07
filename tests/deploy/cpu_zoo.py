"""The smallest file of each operation, for each type of numbers: what a CPU is measured on.

`PLAIN` holds each operation in its usual form: name → function of a `TinyFile` and a type, which
gives the inputs and outputs. `SPECIAL` holds the same for those whose parameters decide, `SCALED`
for integers whose scales do, and `GRAPHS` those of several operations and of one type: name →
function of a `TinyFile`.
"""

import functools
import struct

import numpy as np
from tiny_tflite import SCALE, TinyFile

TYPES = ("FLOAT32", "FLOAT16", "INT8", "UINT8", "INT16", "INT32", "UINT32", "INT64", "BOOL")
IMAGE = (1, 8, 8, 8)
SMALL = (1, 4, 4, 8)
STEP = {"strideW": 1, "strideH": 1}
WINDOW = {**STEP, "filterWidth": 3, "filterHeight": 3, "padding": 1}
# Quantized results whose scale the kernels prescribe: type → (scale, zero point).
_OF_ONE = {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)}
_AROUND_ZERO = {"INT8": (1 / 128, 0), "UINT8": (1 / 128, 128), "INT16": (1 / 32768, 0)}
_OF_LOGARITHMS = {"INT8": (16 / 256, 127), "UINT8": (16 / 256, 255)}


def write(build, path):
    """Writes the file of a function of a `TinyFile`."""
    tiny = TinyFile()
    return tiny.write(path, *build(tiny))


def files():
    """Name → function of a `TinyFile`, of all operations and types."""
    typed = [(PLAIN, TYPES), (SPECIAL, ("FLOAT32", "INT8")), (SCALED, ("INT8",))]
    return GRAPHS | {
        f"{name} {kind}": functools.partial(build, kind=kind)
        for group, types in typed
        for name, build in group.items()
        for kind in types
    }


def numbers(*values):
    """An int32 vector."""
    return np.array(values, "int32")


def ones(tiny, shape, kind):
    """A constant of ones."""
    return tiny.tensor(shape, kind, np.ones(shape, kind.lower()))


def result(tiny, number, ranges, kind):
    """Sets the scale that the kernels prescribe for a result."""
    if kind in ranges:
        quantization = tiny.tensors[number].quantization
        quantization.scale, quantization.zeroPoint = ([value] for value in ranges[kind])
    return number


def unary(operation, shape=IMAGE, ranges=(), **options):
    """One tensor in, one of the same shape out."""

    def build(tiny, kind):
        x = tiny.tensor(shape, kind)
        y = tiny.apply(operation, [x], (shape, kind), **options)
        return [x], [result(tiny, y, dict(ranges), kind)]

    return build


def binary(operation, gives=None, other=IMAGE, constant=False, out=IMAGE, shape=IMAGE, **options):
    """Two tensors of one type in."""

    def build(tiny, kind):
        x = tiny.tensor(shape, kind)
        y = ones(tiny, other, kind) if constant else tiny.tensor(other, kind)
        z = tiny.apply(operation, [x, y], (out, gives or kind), **options)
        return [x] if constant else [x, y], [z]

    return build


def indexed(operation, shape, out, *constants, gives=None, first=(), computed=False, **options):
    """One tensor in, beside integers that say what is done with it, as constants or computed."""

    def build(tiny, kind):
        x = tiny.tensor(shape, kind)
        make = _computed if computed else _constant
        before, after = ([make(tiny, c) for c in part] for part in (first, constants))
        outs = out if isinstance(out, list) else [out]
        shapes = [(shape, gives or kind) for shape in outs]
        made = tiny.apply(operation, [*before, x, *after], *shapes, **options)
        inputs = [x, *before, *after] if computed else [x]
        return inputs, made if isinstance(made, list) else [made]

    return build


def _constant(tiny, values):
    return tiny.constant(values)


def _computed(tiny, values):
    return tiny.tensor(np.shape(values), str(np.asarray(values).dtype).upper())


def reduction(operation, axes=(1, 2), keep=True, shape=IMAGE):
    """A reduction over axes."""
    gone = {axis % len(shape) for axis in axes}
    kept = tuple(1 if i in gone else n for i, n in enumerate(shape))
    out = kept if keep else tuple(n for i, n in enumerate(shape) if i not in gone)
    return indexed(operation, shape, out, numbers(*axes), keepDims=keep)


def weights_of(kind, weights):
    """Types of weights and bias beside a type of activations."""
    if kind == "INT16":
        return weights or "INT8", "INT64"
    return weights or kind, kind if kind.startswith("FLOAT") else "INT32"


def convolution(operation, kernel, shape=IMAGE, out=IMAGE, first=(), weights=None, **form):
    """A convolution with constant weights and, unless `bias` is False, a bias."""
    with_bias, channels = form.pop("bias", True), form.pop("channels", kernel[0])
    computed, per_channel = form.pop("computed", False), form.pop("per_channel", None)
    several, computed_bias = form.pop("several", False), form.pop("computed_bias", False)

    def build(tiny, kind):
        x = tiny.tensor(shape, kind)
        of_weights, of_bias = weights_of(kind, weights)
        w = tiny.tensor(kernel, of_weights) if computed else ones(tiny, kernel, of_weights)
        parts = [tiny.constant(numbers(*part)) for part in first]
        parts += [w, x] if first and operation.startswith("TRANSPOSE") else [x, w]
        if operation == "CONV_3D_TRANSPOSE":
            parts = [parts[0], w, x]
        if per_channel is not None and of_weights in ("INT8", "UINT8"):
            quantization = tiny.tensors[w].quantization
            quantization.scale = [SCALE] * channels
            quantization.zeroPoint = [0] * channels
            quantization.quantizedDimension = per_channel
        if with_bias:
            parts.append(_bias(tiny, channels, of_bias, several))
        inputs = [x, *([w] if computed else []), *(parts[-1:] if computed_bias else [])]
        if computed_bias:
            tiny.tensors[parts[-1]].buffer = 0
        return inputs, [tiny.apply(operation, parts, (out, kind), **form)]

    return build


def _bias(tiny, channels, kind, several=False):
    number = tiny.tensor((channels,), kind, np.zeros(channels, kind.lower()))
    if kind.startswith("INT"):
        quantization = tiny.schema.QuantizationParametersT()
        quantization.scale = [SCALE * SCALE] * (channels if several else 1)
        quantization.zeroPoint = [0] * (channels if several else 1)
        tiny.tensors[number].quantization = quantization
    return number


def cast(gives):
    """Numbers of one type as another."""

    def build(tiny, kind):
        x = tiny.tensor(IMAGE, kind)
        return [x], [tiny.apply("CAST", [x], (IMAGE, gives))]

    return build


def quantize(gives):
    """A change of scale, or from float."""

    def build(tiny, kind):
        x = tiny.tensor(IMAGE, kind)
        return [x], [tiny.apply("QUANTIZE", [x], (IMAGE, gives))]

    return build


def dequantize(tiny, kind):
    """A computed tensor as float."""
    x = tiny.tensor(IMAGE, kind)
    return [x], [tiny.apply("DEQUANTIZE", [x], (IMAGE, "FLOAT32"))]


def select(operation):
    """A choice between two tensors."""

    def build(tiny, kind):
        c, x, y = tiny.tensor(IMAGE, "BOOL"), tiny.tensor(IMAGE, kind), tiny.tensor(IMAGE, kind)
        return [c, x, y], [tiny.apply(operation, [c, x, y], (IMAGE, kind))]

    return build


def joined(operation, count, shape, out, **options):
    """Several tensors to one."""

    def build(tiny, kind):
        parts = [tiny.tensor(shape, kind) for _ in range(count)]
        return parts, [tiny.apply(operation, parts, (out, kind), **options)]

    return build


def padded_with(tiny, kind):
    """A pad with a value."""
    x, value = tiny.tensor(IMAGE, kind), ones(tiny, (), kind)
    amounts = tiny.constant(_AROUND)
    return [x], [tiny.apply("PADV2", [x, amounts, value], ((1, 10, 10, 8), kind))]


def slopes(shape=(1, 1, 8), computed=False):
    """A PRELU."""

    def build(tiny, kind):
        x = tiny.tensor(IMAGE, kind)
        a = tiny.tensor(shape, kind) if computed else ones(tiny, shape, kind)
        y = tiny.apply("PRELU", [x, a], (IMAGE, kind))
        return [x, a] if computed else [x], [y]

    return build


def filled(tiny, kind):
    """A constant shape full of a computed number."""
    x = tiny.tensor((), kind)
    return [x], [tiny.apply("FILL", [tiny.constant(numbers(2, 3)), x], ((2, 3), kind))]


def counted(tiny, kind):
    """A range of constants up to a computed limit."""
    x = tiny.tensor((), kind)
    parts = [ones(tiny, (), kind), x, ones(tiny, (), kind)]
    return [x], [tiny.apply("RANGE", parts, ((0,), kind))]


def greatest(tiny, kind):
    """The greatest numbers and their places."""
    x, count = tiny.tensor((1, 8), kind), tiny.constant(np.int32(3))
    return [x], tiny.apply("TOPK_V2", [x, count], ((1, 3), kind), ((1, 3), "INT32"))


def one_hot(tiny, kind):
    """Rows of ones and zeros."""
    x = tiny.tensor((4,), "INT32")
    on, off = ones(tiny, (), kind), ones(tiny, (), kind)
    depth = tiny.constant(np.int32(5))
    return [x], [tiny.apply("ONE_HOT", [x, depth, on, off], ((4, 5), kind), axis=-1)]


def looked_up(tiny, kind):
    """Rows of a constant table."""
    x = tiny.tensor((3,), "INT32")
    return [x], [tiny.apply("EMBEDDING_LOOKUP", [x, ones(tiny, (5, 8), kind)], ((3, 8), kind))]


def scattered(tiny, kind):
    """Rows put at their places."""
    x = tiny.tensor((2, 4), kind)
    places, shape = tiny.constant(np.array([[0], [2]], "int32")), tiny.constant(numbers(5, 4))
    return [x], [tiny.apply("SCATTER_ND", [places, x, shape], ((5, 4), kind))]


def segments(operation, *more):
    """Sums and the like over rows of one segment."""
    return indexed(operation, (4, 8), (2, 8), numbers(0, 0, 1, 1), *more)


def updated(tiny, kind):
    """A part of a tensor replaced."""
    x, y = tiny.tensor((4, 8), kind), tiny.tensor((2, 8), kind)
    begin = tiny.constant(numbers(0, 0))
    return [x, y], [tiny.apply("DYNAMIC_UPDATE_SLICE", [x, y, begin], ((4, 8), kind))]


def matrices(shape=(2, 4, 4), other=(2, 4, 4), out=(2, 4, 4), constant=False, **options):
    """A product of matrices."""

    def build(tiny, kind):
        x = tiny.tensor(shape, kind)
        y = ones(tiny, other, kind) if constant else tiny.tensor(other, kind)
        z = tiny.apply("BATCH_MATMUL", [x, y], (out, kind), **options)
        return [x] if constant else [x, y], [z]

    return build


def densified(kind):
    """A product with a sparse constant, which is made dense, and widened to float, first."""

    def build(tiny):
        x, sparse = tiny.tensor((2, 2)), ones(tiny, (2, 2), kind)
        schema = tiny.schema
        layout = schema.SparsityParametersT()
        layout.traversalOrder = [0, 1]
        layout.dimMetadata = [schema.DimensionMetadataT(), schema.DimensionMetadataT()]
        layout.dimMetadata[0].denseSize = 2
        rows = layout.dimMetadata[1]
        rows.format = 1
        for name, values in (("Segments", [0, 2, 4]), ("Indices", [0, 1, 0, 1])):
            setattr(rows, f"array{name}Type", 1)
            vector = schema.Int32VectorT()
            vector.values = values
            setattr(rows, f"array{name}", vector)
        tiny.tensors[sparse].sparsity = layout
        dense = tiny.apply("DENSIFY", [sparse], ((2, 2), kind))
        if kind != "FLOAT32":
            dense = tiny.apply("DEQUANTIZE", [dense], ((2, 2), "FLOAT32"))
        return [x], [tiny.apply("FULLY_CONNECTED", [x, dense, -1], ((2, 2), "FLOAT32"))]

    return build


def split(count, axis=3):
    """A split of the channels."""
    parts = [(1, 8, 8, 8 // count)] * count
    return indexed("SPLIT", IMAGE, parts, first=(np.int32(axis),), numSplits=count)


def split_v(*sizes):
    """A split of the channels into parts of given sizes."""
    parts = [(1, 8, 8, n) for n in sizes]
    return indexed("SPLIT_V", IMAGE, parts, numbers(*sizes), np.int32(3), numSplits=len(sizes))


def slicing(out, begin=(0, 0, 0, 0), end=IMAGE, steps=(1, 1, 1, 1), **options):
    """A STRIDED_SLICE."""
    return indexed(
        "STRIDED_SLICE", IMAGE, out, numbers(*begin), numbers(*end), numbers(*steps), **options
    )


def padding_of_batch():
    """Amounts of a PAD that adds an image."""
    return np.array([(0, 1), (0, 0), (0, 0), (0, 0)], "int32")


_AROUND = np.array([(0, 0), (1, 1), (1, 1), (0, 0)], "int32")
_KERNEL = (8, 3, 3, 8)

_UNARY = """
    ABS CEIL COS ELU EXP FLOOR GELU HARD_SWISH L2_NORMALIZATION LOG LOGICAL_NOT NEG RELU RELU6
    RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SIGN SIN SQRT SQUARE ZEROS_LIKE
"""
_BINARY = """
    ADD ATAN2 BITWISE_XOR DIV FLOOR_DIV FLOOR_MOD LOGICAL_AND LOGICAL_OR MAXIMUM MINIMUM MUL POW
    RIGHT_SHIFT SQUARED_DIFFERENCE STABLEHLO_ADD STABLEHLO_AND STABLEHLO_MAXIMUM STABLEHLO_MINIMUM
    STABLEHLO_MULTIPLY STABLEHLO_SHIFT_LEFT SUB
"""
_COMPARISONS = "EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL"
_REDUCTIONS = "MEAN REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD SUM"

PLAIN = {
    **{name: unary(name) for name in _UNARY.split()},
    **{name: binary(name) for name in _BINARY.split()},
    **{name: binary(name, "BOOL") for name in _COMPARISONS.split()},
    **{name: reduction(name) for name in _REDUCTIONS.split()},
    **{
        f"{name} to {gives}": indexed(
            name, IMAGE, (1, 8, 8), np.int32(3), gives=gives, outputType=number
        )
        for name in ("ARG_MAX", "ARG_MIN")
        for gives, number in (("INT32", 2), ("INT64", 4))
    },
    **{f"CAST to {kind}": cast(kind) for kind in TYPES},
    **{f"QUANTIZE to {kind}": quantize(kind) for kind in ("INT8", "UINT8", "INT16")},
    "DEQUANTIZE": dequantize,
    "LEAKY_RELU": unary("LEAKY_RELU", alpha=0.1),
    "LOGISTIC": unary("LOGISTIC", ranges=_OF_ONE),
    "LOG_SOFTMAX": unary("LOG_SOFTMAX", (1, 8), _OF_LOGARITHMS),
    "LOCAL_RESPONSE_NORMALIZATION": unary(
        "LOCAL_RESPONSE_NORMALIZATION", radius=2, bias=1.0, alpha=1.0, beta=0.5
    ),
    "SOFTMAX": unary("SOFTMAX", (1, 8), _OF_ONE, beta=1.0),
    "TANH": unary("TANH", ranges=_AROUND_ZERO),
    "ADD_N": joined("ADD_N", 3, IMAGE, IMAGE),
    "AVERAGE_POOL_2D": indexed("AVERAGE_POOL_2D", IMAGE, (1, 6, 6, 8), **WINDOW),
    "BATCH_MATMUL": matrices(),
    "BATCH_TO_SPACE_ND": indexed(
        "BATCH_TO_SPACE_ND", (4, 4, 4, 8), IMAGE, numbers(2, 2), np.zeros((2, 2), "int32")
    ),
    "BROADCAST_TO": indexed("BROADCAST_TO", (1, 8, 1, 8), IMAGE, numbers(*IMAGE)),
    "CONCATENATION": joined("CONCATENATION", 2, IMAGE, (1, 8, 8, 16), axis=3),
    "CONV_2D": convolution("CONV_2D", _KERNEL, **STEP),
    "CONV_3D": convolution(
        "CONV_3D",
        (3, 3, 3, 2, 2),
        (1, 4, 8, 8, 2),
        (1, 4, 8, 8, 2),
        channels=2,
        strideD=1,
        **STEP,
    ),
    "CONV_3D_TRANSPOSE": convolution(
        "CONV_3D_TRANSPOSE",
        (1, 1, 1, 2, 2),
        (1, 4, 8, 8, 2),
        (1, 4, 8, 8, 2),
        [(1, 4, 8, 8, 2)],
        channels=2,
        strideD=1,
        **STEP,
    ),
    "CUMSUM": indexed("CUMSUM", IMAGE, IMAGE, np.int32(3)),
    "DEPTHWISE_CONV_2D": convolution(
        "DEPTHWISE_CONV_2D", (1, 3, 3, 8), channels=8, depthMultiplier=1, **STEP
    ),
    "DEPTH_TO_SPACE": indexed("DEPTH_TO_SPACE", IMAGE, (1, 16, 16, 2), blockSize=2),
    "DYNAMIC_UPDATE_SLICE": updated,
    "EMBEDDING_LOOKUP": looked_up,
    "EXPAND_DIMS": indexed("EXPAND_DIMS", (1, 8), (1, 1, 8), np.int32(1)),
    "FILL": filled,
    "FULLY_CONNECTED": convolution("FULLY_CONNECTED", (4, 8), (1, 8), (1, 4)),
    "FULLY_CONNECTED without bias": convolution(
        "FULLY_CONNECTED", (4, 8), (1, 8), (1, 4), bias=False
    ),
    "GATHER": indexed("GATHER", IMAGE, (1, 8, 8, 2), numbers(1, 0), axis=3),
    "GATHER_ND": indexed("GATHER_ND", IMAGE, (1, 8, 8), np.array([[0, 1]], "int32")),
    "L2_POOL_2D": indexed("L2_POOL_2D", IMAGE, (1, 6, 6, 8), **WINDOW),
    "MAX_POOL_2D": indexed("MAX_POOL_2D", IMAGE, (1, 6, 6, 8), **WINDOW),
    "MIRROR_PAD": indexed("MIRROR_PAD", IMAGE, (1, 10, 10, 8), _AROUND, mode=0),
    "ONE_HOT": one_hot,
    "PACK": joined("PACK", 2, (4, 8), (4, 2, 8), axis=1, valuesCount=2),
    "PAD": indexed("PAD", IMAGE, (1, 10, 10, 8), _AROUND),
    "PAD by INT64": indexed("PAD", IMAGE, (1, 10, 10, 8), _AROUND.astype("int64")),
    "PADV2": padded_with,
    "PRELU": slopes(),
    "RANGE": counted,
    "RANK": indexed("RANK", IMAGE, (), gives="INT32"),
    "RESHAPE": indexed("RESHAPE", IMAGE, (1, 64, 8), numbers(1, 64, 8), newShape=[1, 64, 8]),
    "RESHAPE by its options": indexed("RESHAPE", IMAGE, (1, 64, 8), newShape=[1, 64, 8]),
    "RESIZE_BILINEAR": indexed("RESIZE_BILINEAR", SMALL, IMAGE, numbers(8, 8)),
    "RESIZE_NEAREST_NEIGHBOR": indexed("RESIZE_NEAREST_NEIGHBOR", SMALL, IMAGE, numbers(8, 8)),
    "REVERSE_V2": indexed("REVERSE_V2", IMAGE, IMAGE, numbers(3)),
    "SCATTER_ND": scattered,
    "SEGMENT_SUM": segments("SEGMENT_SUM"),
    "SELECT": select("SELECT"),
    "SELECT_V2": select("SELECT_V2"),
    "SHAPE": indexed("SHAPE", IMAGE, (4,), gives="INT32", outType=2),
    "SHAPE by INT64": indexed("SHAPE", IMAGE, (4,), gives="INT64", outType=4),
    "SLICE": indexed("SLICE", IMAGE, SMALL, numbers(0, 1, 1, 0), numbers(1, 4, 4, 8)),
    "SLICE by INT64": indexed(
        "SLICE", IMAGE, SMALL, *(np.array(v, "int64") for v in ((0, 1, 1, 0), (1, 4, 4, 8)))
    ),
    "SPACE_TO_BATCH_ND": indexed(
        "SPACE_TO_BATCH_ND", IMAGE, (4, 4, 4, 8), numbers(2, 2), np.zeros((2, 2), "int32")
    ),
    "SPACE_TO_DEPTH": indexed("SPACE_TO_DEPTH", IMAGE, (1, 4, 4, 32), blockSize=2),
    "SPLIT": split(2),
    "SPLIT_V": split_v(3, 5),
    "SQUEEZE": indexed("SQUEEZE", (1, 1, 4, 8), (1, 4, 8), squeezeDims=[1]),
    "STRIDED_SLICE": slicing((1, 7, 7, 8), (0, 1, 1, 0)),
    "TILE": indexed("TILE", SMALL, IMAGE, numbers(1, 2, 2, 1)),
    "TOPK_V2": greatest,
    "TRANSPOSE": indexed("TRANSPOSE", IMAGE, IMAGE, numbers(0, 2, 1, 3)),
    "TRANSPOSE_CONV": convolution(
        "TRANSPOSE_CONV", _KERNEL, SMALL, IMAGE, [IMAGE], strideW=2, strideH=2
    ),
    "TRANSPOSE_CONV without bias": convolution(
        "TRANSPOSE_CONV", _KERNEL, SMALL, IMAGE, [IMAGE], bias=False, strideW=2, strideH=2
    ),
    "UNPACK": indexed("UNPACK", (4, 2, 8), [(4, 8), (4, 8)], axis=1, num=2),
    "UNSORTED_SEGMENT_MAX": segments("UNSORTED_SEGMENT_MAX", np.int32(2)),
    "UNSORTED_SEGMENT_MIN": segments("UNSORTED_SEGMENT_MIN", np.int32(2)),
    "UNSORTED_SEGMENT_PROD": segments("UNSORTED_SEGMENT_PROD", np.int32(2)),
    "UNSORTED_SEGMENT_SUM": segments("UNSORTED_SEGMENT_SUM", np.int32(2)),
    "WHERE": indexed("WHERE", (4,), (0, 1), gives="INT64"),
    **{
        f"{name} by INT64": indexed(name, shape, out, values.astype("int64"), **options)
        for name, shape, out, values, options in (
            ("BROADCAST_TO", (1, 8, 1, 8), IMAGE, numbers(*IMAGE), {}),
            ("EXPAND_DIMS", (1, 8), (1, 1, 8), np.int32(1), {}),
            ("GATHER", IMAGE, (1, 8, 8, 2), numbers(1, 0), {"axis": 3}),
            ("GATHER_ND", IMAGE, (1, 8, 8), np.array([[0, 1]], "int32"), {}),
            ("TILE", SMALL, IMAGE, numbers(1, 2, 2, 1), {}),
        )
    },
    **{
        f"{name} with {of_weights}": convolution(
            name, kernel, shape, out, weights=of_weights, **options
        )
        for name, kernel, shape, out, options in (
            ("CONV_2D", _KERNEL, IMAGE, IMAGE, STEP),
            (
                "DEPTHWISE_CONV_2D",
                (1, 3, 3, 8),
                IMAGE,
                IMAGE,
                {"channels": 8, "depthMultiplier": 1, **STEP},
            ),
            ("FULLY_CONNECTED", (4, 8), (1, 8), (1, 4), {}),
        )
        for of_weights in ("INT8", "UINT8", "FLOAT16")
    },
}

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
_DEPTHWISE = {"channels": 8, "depthMultiplier": 1, **STEP}
_TWICE = {"strideW": 2, "strideH": 2}

# Operation → function of its options.
_FUSED = {
    **{name: functools.partial(binary, name) for name in ("ADD", "DIV", "MUL", "SUB")},
    **{
        name: functools.partial(indexed, name, IMAGE, (1, 6, 6, 8), **WINDOW)
        for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D")
    },
    "CONCATENATION": functools.partial(joined, "CONCATENATION", 2, IMAGE, (1, 8, 8, 16), axis=3),
    "CONV_2D": functools.partial(convolution, "CONV_2D", _KERNEL, **STEP),
    "DEPTHWISE_CONV_2D": functools.partial(
        convolution, "DEPTHWISE_CONV_2D", (1, 3, 3, 8), **_DEPTHWISE
    ),
    "FULLY_CONNECTED": functools.partial(convolution, "FULLY_CONNECTED", (4, 8), (1, 8), (1, 4)),
    "TRANSPOSE_CONV": functools.partial(
        convolution, "TRANSPOSE_CONV", _KERNEL, SMALL, IMAGE, [IMAGE], **_TWICE
    ),
}


def fused():
    """Operations that end with an activation."""
    for name, make in _FUSED.items():
        for code, activation in enumerate(ACTIVATIONS[1:], 1):
            yield f"{name} then {activation}", make(fusedActivationFunction=code)


def of_ranks():
    """Operations on tensors of few and of many axes."""
    for rank in (1, 3, 6, 7):
        lead = (1,) * (rank - 1)
        shape, half, last = (*lead, 8), (*lead, 4), rank - 1
        begin = numbers(*[0] * rank)
        reversed_shape = numbers(*range(rank)[::-1])
        amounts = np.array([(0, 0)] * last + [(1, 1)], "int32")
        cases = {
            "ADD": binary("ADD", other=(), constant=True, out=shape, shape=shape),
            "CONCATENATION": joined("CONCATENATION", 2, half, shape, axis=last),
            "MEAN": reduction("MEAN", (last,), True, shape),
            "PAD": indexed("PAD", shape, (*lead, 10), amounts),
            "RELU": unary("RELU", shape),
            "RESHAPE": indexed("RESHAPE", (8,), shape, numbers(*shape)),
            "SLICE": indexed("SLICE", shape, half, begin, numbers(*half)),
            "SOFTMAX": unary("SOFTMAX", shape, _OF_ONE, beta=1.0),
            "SPLIT": indexed("SPLIT", shape, [half, half], first=(np.int32(last),), numSplits=2),
            "STRIDED_SLICE": indexed(
                "STRIDED_SLICE", shape, half, begin, numbers(*half), numbers(*[1] * rank)
            ),
            "TRANSPOSE": indexed("TRANSPOSE", shape, shape[::-1], reversed_shape),
        }
        if rank > 1:
            cases["FULLY_CONNECTED"] = convolution(
                "FULLY_CONNECTED", (4, 8), shape, half, keepNumDims=True
            )
            cases["BATCH_MATMUL"] = matrices(shape, (*lead[1:], 8, 4), half)
        for name, build in cases.items():
            yield f"{name} of {rank} axes", build


def of_parameters():
    """Operations whose shapes and indices decide."""
    for count in (1, 2, 3, 4, 5, 6, 9):
        yield (
            f"concatenation of {count}",
            joined("CONCATENATION", count, IMAGE, (1, 8, 8, 8 * count), axis=3),
        )
    yield from ((f"split into {count}", split(count)) for count in (1, 2, 4, 8))
    yield "split along an axis from the end", split(2, axis=-1)
    yield "softmax of a beta", unary("SOFTMAX", (1, 8), _OF_ONE, beta=2.0)
    for shape in ((1,), (8,), (8, 8, 8)):
        yield f"slopes of {len(shape)} axes", slopes(shape)
    for alpha in (0.0, -0.1, 1.5, 300.0):
        yield f"leaky by {alpha}", unary("LEAKY_RELU", alpha=alpha)
    for name in ("ADD", "DIV", "MAXIMUM", "MUL", "SQUARED_DIFFERENCE", "SUB"):
        for other in ((), (8,), IMAGE):
            yield f"{name} of {len(other)} constant axes", binary(name, other=other, constant=True)
    for name in ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"):
        for axes in ((0,), (3,), (2, 1), (1, 3), (0, 1, 2, 3), (-1,)):
            for keep in (True, False):
                yield f"{name} over {axes}, kept: {keep}", reduction(name, axes, keep)
    yield "reshape to what is left", indexed("RESHAPE", IMAGE, (1, 64, 8), numbers(1, -1, 8))
    yield "pad of the batch", indexed("PAD", IMAGE, (2, 8, 8, 8), padding_of_batch())
    yield (
        "slice to the end",
        indexed("SLICE", IMAGE, (1, 7, 7, 8), numbers(0, 1, 1, 0), numbers(-1, -1, -1, -1)),
    )
    yield "slice with steps", slicing(SMALL, steps=(1, 2, 2, 1))
    yield "slice backward", slicing(IMAGE, (0, 7, 0, 0), (1, -9, 8, 8), (1, -1, 1, 1))
    yield "slice that drops an axis", slicing((1, 8, 8), shrinkAxisMask=2)
    yield "slice with a new axis", slicing((1, 1, 8, 8, 8), newAxisMask=1)
    yield "slice with masks of the ends", slicing(IMAGE, beginMask=15, endMask=15)
    yield "slice from the end", slicing((1, 8, 8, 2), (0, 0, 0, -2))
    few = (numbers(0, 0), numbers(1, 4), numbers(1, 1))
    yield "slice of the first axes", indexed("STRIDED_SLICE", IMAGE, (1, 4, 8, 8), *few)
    few = (numbers(0, 0), numbers(0, 4), numbers(1, 1))
    yield (
        "slice with an ellipsis",
        indexed("STRIDED_SLICE", IMAGE, (1, 8, 8, 4), *few, ellipsisMask=1),
    )
    for option in ("alignCorners", "halfPixelCenters"):
        yield (
            f"resize with {option}",
            indexed("RESIZE_BILINEAR", SMALL, IMAGE, numbers(8, 8), **{option: True}),
        )
    for name, size, step in (("1×1", 1, 1), ("1×1", 1, 2), ("2×2", 2, 3), ("3×3", 3, 2)):
        form = {"filterWidth": size, "filterHeight": size, "strideW": step, "strideH": step}
        out = (1, *[(8 - size) // step + 1] * 2, 8)
        for pool in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            yield f"{pool} of {name} by {step}", indexed(pool, IMAGE, out, padding=1, **form)
    yield "depth to space by 1", indexed("DEPTH_TO_SPACE", IMAGE, IMAGE, blockSize=1)
    yield "space to depth by 1", indexed("SPACE_TO_DEPTH", IMAGE, IMAGE, blockSize=1)
    yield "approximate gelu", unary("GELU", approximate=True)
    for option in ("adjX", "adjY"):
        yield f"product with {option}", matrices(**{option: True})
    yield "product with a constant", matrices(constant=True)


def of_weights():
    """Convolutions whose weights and strides decide."""
    per_channel = {"several": True, "per_channel": 0}
    yield "conv in groups", convolution("CONV_2D", (8, 3, 3, 4), **STEP)
    yield "conv with strides", convolution("CONV_2D", _KERNEL, IMAGE, SMALL, **_TWICE)
    yield (
        "conv with holes",
        convolution("CONV_2D", _KERNEL, dilationWFactor=2, dilationHFactor=2, **STEP),
    )
    yield "conv of channels", convolution("CONV_2D", _KERNEL, **per_channel, **STEP)
    yield (
        "conv of integer channels",
        convolution("CONV_2D", _KERNEL, weights="INT8", **per_channel, **STEP),
    )
    yield (
        "depthwise of channels",
        convolution("DEPTHWISE_CONV_2D", (1, 3, 3, 8), several=True, per_channel=3, **_DEPTHWISE),
    )
    yield (
        "depthwise of integer channels",
        convolution(
            "DEPTHWISE_CONV_2D",
            (1, 3, 3, 8),
            weights="INT8",
            several=True,
            per_channel=3,
            **_DEPTHWISE,
        ),
    )
    yield (
        "depthwise to twice the channels",
        convolution(
            "DEPTHWISE_CONV_2D",
            (1, 3, 3, 16),
            IMAGE,
            (1, 8, 8, 16),
            channels=16,
            depthMultiplier=2,
            **STEP,
        ),
    )
    yield (
        "transposed conv of channels",
        convolution("TRANSPOSE_CONV", _KERNEL, SMALL, IMAGE, [IMAGE], **per_channel, **_TWICE),
    )
    yield (
        "transposed conv of integer channels",
        convolution(
            "TRANSPOSE_CONV",
            _KERNEL,
            SMALL,
            IMAGE,
            [IMAGE],
            weights="INT8",
            **per_channel,
            **_TWICE,
        ),
    )
    dense = ("FULLY_CONNECTED", (4, 8), (1, 8), (1, 4))
    yield "fully connected of channels", convolution(*dense, **per_channel)
    yield "fully connected of integer channels", convolution(*dense, weights="INT8", **per_channel)


def of_computed_parameters():
    """Operations that take as an input what is constant as a rule."""
    image, axes = {"computed": True}, numbers(1)
    yield "conv by computed weights", convolution("CONV_2D", _KERNEL, **image, **STEP)
    yield (
        "depthwise by computed weights",
        convolution("DEPTHWISE_CONV_2D", (1, 3, 3, 8), **image, **_DEPTHWISE),
    )
    yield (
        "fully connected by computed weights",
        convolution("FULLY_CONNECTED", (4, 8), (1, 8), (1, 4), **image),
    )
    yield (
        "transposed conv by computed weights",
        convolution("TRANSPOSE_CONV", _KERNEL, SMALL, IMAGE, [IMAGE], **image, **_TWICE),
    )
    yield "conv with a computed bias", convolution("CONV_2D", _KERNEL, computed_bias=True, **STEP)
    yield (
        "fully connected with a computed bias",
        convolution("FULLY_CONNECTED", (4, 8), (1, 8), (1, 4), computed_bias=True),
    )
    yield "computed slopes", slopes(**image)
    for name in ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"):
        yield (
            f"{name} over computed axes",
            indexed(name, (4, 8), (4, 1), axes, keepDims=True, **image),
        )
    yield "transpose by computed axes", indexed("TRANSPOSE", (4, 4), (4, 4), numbers(1, 0), **image)
    yield "reshape to a computed shape", indexed("RESHAPE", (1,), (1,), numbers(1), **image)
    yield (
        "pad by computed amounts",
        indexed("PAD", (4, 4), (6, 6), np.ones((2, 2), "int32"), **image),
    )
    yield (
        "slice from a computed place",
        indexed("SLICE", (4, 4), (1, 1), numbers(1, 1), numbers(1, 1), **image),
    )
    yield (
        "strided slice from a computed place",
        indexed("STRIDED_SLICE", (4, 4), (1, 1), *[numbers(1, 1)] * 3, **image),
    )
    yield (
        "resize to a computed size",
        indexed("RESIZE_BILINEAR", SMALL, (1, 1, 1, 8), numbers(1, 1), **image),
    )
    yield (
        "split along a computed axis",
        indexed("SPLIT", (4, 8), [(4, 4)] * 2, first=(np.int32(1),), numSplits=2, **image),
    )


# Output scales of integers whose inputs have another, on both sides of the limits.
_SCALES = [SCALE * 2.0**power for power in (-13, -12, -9, -8, -7, 7, 8, 9, 10, 11, 12)]
_SCALED = (
    *("ADD", "BATCH_MATMUL", "ELU", "LEAKY_RELU", "LOGISTIC", "MEAN", "MUL", "QUANTIZE to INT8"),
    *("REDUCE_MAX", "SUB", "SUM", "TANH"),
)
_KEEPS_SCALE = (
    *("CONCATENATION", "DEPTH_TO_SPACE", "MAX_POOL_2D", "PAD", "RESHAPE", "RESIZE_BILINEAR"),
    *("SLICE", "SPACE_TO_DEPTH", "SPLIT", "STRIDED_SLICE", "TRANSPOSE"),
)


def of_scales():
    """Integers whose scales decide."""
    for name in _SCALED:
        for scale in _SCALES:
            yield f"{name} to a scale of {scale:.3g}", scaled(PLAIN[name], scale)
    for name in _KEEPS_SCALE:
        yield f"{name} to another scale", scaled(PLAIN[name], 0.1)
        yield f"{name} to another zero point", scaled(PLAIN[name], SCALE, 3)


def scaled(build, scale, zero_point=0):
    """The same file with another scale of its results."""

    def built(tiny, kind):
        inputs, outputs = build(tiny, kind)
        for number in outputs:
            result(tiny, number, {"INT8": (scale, zero_point)}, kind)
        return inputs, outputs

    return built


def with_open_sizes():
    """Operations on a batch, or an image, of any size."""
    for name in (*_KEEPS_SCALE, "ADD", "BATCH_MATMUL", "CONV_2D", "FULLY_CONNECTED", "MEAN"):
        yield f"{name} of any batch", opened(PLAIN[name], (0,))
    yield "CONV_2D of any image", opened(PLAIN["CONV_2D"], (1, 2))


def opened(build, axes):
    """The same file with open sizes of its inputs and outputs."""

    def built(tiny, kind):
        inputs, outputs = build(tiny, kind)
        for number in (*inputs, *outputs):
            tensor = tiny.tensors[number]
            tensor.shapeSignature = [-1 if i in axes else n for i, n in enumerate(tensor.shape)]
        return inputs, outputs

    return built


SPECIAL = {
    name: build
    for group in (
        *(fused, of_ranks, of_parameters, of_weights),
        *(of_computed_parameters, with_open_sizes),
    )
    for name, build in group()
}
SCALED = dict(of_scales())


def widened(kind):
    """A convolution and a PRELU by constants that are widened to float first."""

    def build(tiny):
        x, shape = tiny.tensor(IMAGE), (1, 1, 8)
        kernel, slope = (
            tiny.apply("DEQUANTIZE", [ones(tiny, part, kind)], (part, "FLOAT32"))
            for part in (_KERNEL, shape)
        )
        y = tiny.apply("CONV_2D", [x, kernel, tiny.bias(8)], (IMAGE, "FLOAT32"), **STEP)
        return [x], [tiny.apply("PRELU", [y, slope], (IMAGE, "FLOAT32"))]

    return build


def chosen(tiny):
    """IF: a product of matrices, or another one of half as many columns."""
    for width in (8, 4):
        x = tiny.tensor((1, 8))
        y = tiny.apply(
            "FULLY_CONNECTED", [x, tiny.weights((width, 8)), -1], ((1, width), "FLOAT32")
        )
        y = tiny.apply("MEAN", [y, tiny.constant(numbers(1))], ((1, 1), "FLOAT32"), keepDims=True)
        tiny.set_aside([x], [y])
    condition, x = tiny.tensor((), "BOOL"), tiny.tensor((1, 8))
    options = {"thenSubgraphIndex": 1, "elseSubgraphIndex": 2}
    return [condition, x], [tiny.apply("IF", [condition, x], ((1, 1), "FLOAT32"), **options)]


def repeated(tiny):
    """WHILE: a number that is added to until it is large."""
    x = tiny.tensor((1,))
    tiny.set_aside([x], [tiny.apply("LESS", [x, ones(tiny, (1,), "FLOAT32")], ((1,), "BOOL"))])
    x = tiny.tensor((1,))
    y = tiny.apply("ADD", [x, ones(tiny, (1,), "FLOAT32")], ((1,), "FLOAT32"))
    tiny.set_aside([x], [y])
    x = tiny.tensor((1,))
    options = {"condSubgraphIndex": 1, "bodySubgraphIndex": 2}
    return [x], [tiny.apply("WHILE", [x], ((1,), "FLOAT32"), **options)]


def remembered(kind):
    """A variable that is set once, read and written."""

    def build(tiny):
        tiny.apply("ASSIGN_VARIABLE", [_handle(tiny), ones(tiny, (1, 8), kind)])
        first = tiny.set_aside([], [])
        tiny.apply("CALL_ONCE", [], initSubgraphIndex=first)
        x, handle = tiny.tensor((1, 8), kind), _handle(tiny)
        old = tiny.apply("READ_VARIABLE", [handle], ((1, 8), kind))
        new = tiny.apply("ADD", [old, x], ((1, 8), kind))
        tiny.apply("ASSIGN_VARIABLE", [handle, new])
        return [x], [tiny.apply("SUB", [old, x], ((1, 8), kind))]

    return build


def _handle(tiny):
    return tiny.apply("VAR_HANDLE", [], ((), "RESOURCE"), container="", sharedName="state")


def recurrent(weights):
    """A fused LSTM over time."""

    def build(tiny):
        x = tiny.tensor((1, 4, 8))
        gates = [tiny.weights((8, 8), weights) for _ in range(8)]
        biases = [tiny.bias(8) for _ in range(4)]
        states = [tiny.tensor((1, 8)) for _ in range(2)]
        for state in states:
            tiny.tensors[state].isVariable = True
        parts = [x, *gates, -1, -1, -1, *biases, -1, -1, *states, -1, -1, -1, -1]
        options = {"fusedActivationFunction": 4}
        name = "UNIDIRECTIONAL_SEQUENCE_LSTM"
        return [x], [tiny.apply(name, parts, ((1, 4, 8), "FLOAT32"), **options)]

    return build


def suppressed(version):
    """Boxes that overlap less than others of a higher score."""

    def build(tiny):
        boxes, scores = tiny.tensor((6, 4)), tiny.tensor((6,))
        settings = [tiny.constant(v) for v in (np.int32(3), np.float32(0.5), np.float32(0.1))]
        results = [((3,), "INT32"), ((), "INT32")]
        if version == 5:
            settings.append(tiny.constant(np.float32(0.0)))
            results.insert(1, ((3,), "FLOAT32"))
        name = f"NON_MAX_SUPPRESSION_V{version}"
        return [boxes, scores], tiny.apply(name, [boxes, scores, *settings], *results)

    return build


def transposed_with_bias(content):
    """MediaPipe's transposed convolution."""

    def build(tiny):
        x = tiny.tensor(SMALL)
        parts = [x, tiny.weights((1, 2, 2, 8)), tiny.bias(1)]
        name, out = "CUSTOM:Convolution2DTransposeBias", ((1, 8, 8, 1), "FLOAT32")
        return [x], [tiny.apply(name, parts, out, content=content)]

    return build


def detections(kind):
    """The end of single-shot detectors."""

    def build(tiny):
        from flatbuffers import flexbuffers

        boxes, scores = tiny.tensor((1, 6, 4), kind), tiny.tensor((1, 6, 3), kind)
        anchors = ones(tiny, (6, 4), kind)
        settings = {"max_detections": 4, "max_classes_per_detection": 1, "num_classes": 2}
        settings |= {"nms_score_threshold": 0.1, "nms_iou_threshold": 0.5}
        settings |= {f"{axis}_scale": 10.0 for axis in "yxhw"}
        results = [((1, 4, 4), "FLOAT32"), *[((1, 4), "FLOAT32")] * 2, ((1,), "FLOAT32")]
        content = bytes(flexbuffers.Dumps(settings))
        name, parts = "CUSTOM:TFLite_Detection_PostProcess", [boxes, scores, anchors]
        return [boxes, scores], tiny.apply(name, parts, *results, content=content)

    return build


def multiplied_by_integers(tiny):
    """A product of float matrices with constants in int8."""
    x, y = tiny.tensor((2, 4, 4)), ones(tiny, (2, 4, 4), "INT8")
    return [x], [tiny.apply("BATCH_MATMUL", [x, y], ((2, 4, 4), "FLOAT32"))]


def looked_up_integers(tiny):
    """Rows of a table in int8, as float."""
    x, rows = tiny.tensor((3,), "INT32"), ones(tiny, (5, 8), "INT8")
    return [x], [tiny.apply("EMBEDDING_LOOKUP", [x, rows], ((3, 8), "FLOAT32"))]


def unpooled(tiny):
    """MediaPipe's inverse of a maximum pooling."""
    x, places = tiny.tensor(SMALL), tiny.tensor(SMALL, "INT32")
    name, out = "CUSTOM:MaxUnpooling2D", (IMAGE, "FLOAT32")
    content = struct.pack("<10i", 2, 2, 2, 2, 2, 0, 0, 0, 0, 0)
    return [x, places], [tiny.apply(name, [x, places], out, content=content)]


def heard(tiny):
    """A spectrogram of sound, and its cepstral coefficients."""
    from flatbuffers import flexbuffers

    x, rate = tiny.tensor((1024, 1)), tiny.constant(numbers(16_000))
    settings = {"window_size": 256, "stride": 128, "magnitude_squared": False}
    out = ((1, 7, 129), "FLOAT32")
    content = bytes(flexbuffers.Dumps(settings))
    y = tiny.apply("CUSTOM:AudioSpectrogram", [x], out, content=content)
    settings = {"upper_frequency_limit": 4000.0, "lower_frequency_limit": 20.0}
    settings |= {"filterbank_channel_count": 40, "dct_coefficient_count": 13}
    content = bytes(flexbuffers.Dumps(settings))
    out = ((1, 7, 13), "FLOAT32")
    return [x], [tiny.apply("CUSTOM:Mfcc", [y, rate], out, content=content)]


def flattened(tiny):
    """What Keras makes of a reshape of a batch of any size: its shape is computed."""
    x = tiny.tensor(IMAGE, open_axes=(0,))
    shape = tiny.apply("SHAPE", [x], ((4,), "INT32"), outType=2)
    first = [tiny.constant(numbers(value)) for value in (0, 1, 1)]
    batch = tiny.apply("STRIDED_SLICE", [shape, *first], ((), "INT32"), shrinkAxisMask=1)
    sizes = [batch, tiny.constant(np.int32(64)), tiny.constant(np.int32(8))]
    shape = tiny.apply("PACK", sizes, ((3,), "INT32"), valuesCount=3)
    out = ((1, 64, 8), "FLOAT32")
    y = tiny.apply("RESHAPE", [x, shape], out)
    return [x], [tiny.apply("SOFTMAX", [y], out, beta=1.0)]


def custom(name, *, shape=IMAGE, out=((IMAGE, "FLOAT32"),), content=b""):
    """A custom operation with one computed input."""

    def build(tiny):
        x = tiny.tensor(shape)
        made = tiny.apply(f"CUSTOM:{name}", [x], *out, content=content)
        return [x], made if isinstance(made, list) else [made]

    return build


_POOLING = struct.pack("<10i", 1, 2, 2, 2, 2, 0, 0, 0, 0, 0)
_HALF = (SMALL, "FLOAT32")

GRAPHS = {
    **{f"constants of {kind}": widened(kind) for kind in ("FLOAT16", "INT8", "UINT8")},
    **{f"sparse constants of {kind}": densified(kind) for kind in ("FLOAT32", "FLOAT16")},
    "a choice": chosen,
    "a loop": repeated,
    **{f"a variable of {kind}": remembered(kind) for kind in ("FLOAT32", "INT8")},
    **{f"an LSTM with {kind}": recurrent(kind) for kind in ("FLOAT32", "INT8")},
    **{f"suppression {version}": suppressed(version) for version in (4, 5)},
    "transposed conv with bias, old": transposed_with_bias(struct.pack("<3i", 1, 2, 2)),
    "transposed conv with bias": transposed_with_bias(struct.pack("<5i", 1, 2, 2, 0, 0)),
    **{f"detections of {kind}": detections(kind) for kind in ("FLOAT32", "UINT8", "INT8")},
    "a product with integers": multiplied_by_integers,
    "a table of integers": looked_up_integers,
    "maximum with its place": custom(
        "MaxPoolingWithArgmax2D", out=(_HALF, (SMALL, "FLOAT32")), content=_POOLING
    ),
    "a maximum put back": unpooled,
    "sound": heard,
    "a reshape of any batch": flattened,
    **{f"custom {name}": custom(name) for name in ("FlexErf", "edgetpu-custom-op", "Anything")},
}
