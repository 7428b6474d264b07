"""The smallest file on each side of each rule of the GPU tables: name → (how to write, verdict)."""

import numpy as np
from tiny_tflite import FLOAT, INT8, TinyFile

IMAGE = (1, 8, 8, 8)
BATCH = (2, 4, 4, 8)
RUNS, REFUSED, UNKNOWN = "runs", "refused", "unknown"


def numbers(*values):
    """Indices as TFLite wants them: an int32 vector, or a scalar."""
    return np.array(values if len(values) != 1 else values[0], "int32")


def one(operation, shape, out, *constants, kind=FLOAT, gives=None, first=(), **options):
    """A file of one operation with one computed input."""

    def build(path):
        tiny = TinyFile()
        x = tiny.tensor(shape, kind)
        before, after = ([tiny.constant(c) for c in part] for part in (first, constants))
        y = tiny.apply(operation, [*before, x, *after], (out, gives or kind), **options)
        return tiny.write(path, [x], [y])

    return build


def two(operation, shape, other, out, kind=FLOAT, **options):
    """A file of one operation with two computed inputs."""

    def build(path):
        tiny = TinyFile()
        inputs = [tiny.tensor(shape, kind), tiny.tensor(other, kind)]
        y = tiny.apply(operation, inputs, (out, kind), **options)
        return tiny.write(path, inputs, [y])

    return build


def same_twice(path):
    """A matrix times itself."""
    tiny = TinyFile()
    x = tiny.tensor((1, 4, 4))
    return tiny.write(path, [x], [tiny.apply("BATCH_MATMUL", [x, x], ((1, 4, 4), FLOAT))])


def conv(width, filters, groups, kind=FLOAT):
    """A 3×3 convolution in groups of `width` input channels."""

    def build(path):
        tiny = TinyFile()
        x = tiny.tensor((1, 8, 8, width * groups), kind)
        kernel = tiny.weights((filters, 3, 3, width), kind)
        out = ((1, 8, 8, filters), kind)
        options = {"strideW": 1, "strideH": 1}
        y = tiny.apply("CONV_2D", [x, kernel, tiny.bias(filters, kind)], out, **options)
        return tiny.write(path, [x], [y])

    return build


def halves(operation, shape, axis, kind=FLOAT, between=False):
    """A split into two parts along `axis`, whose sum is the result; or first a RELU of one."""

    def build(path):
        tiny = TinyFile()
        x = tiny.tensor(shape, kind)
        part = (tuple(n // 2 if i == axis else n for i, n in enumerate(shape)), kind)
        axis_number = tiny.constant(numbers(axis))
        if operation == "SPLIT":
            inputs = [axis_number, x]
        else:
            size = shape[axis] // 2
            inputs = [x, tiny.constant(np.array([size, size], "int32")), axis_number]
        parts = tiny.apply(operation, inputs, part, part, numSplits=2)
        if between:
            parts[1] = tiny.apply("RELU", [parts[1]], part)
        return tiny.write(path, [x], [tiny.apply("ADD", parts, part)])

    return build


def rejoined(path):
    """The parts of a split, exchanged."""
    tiny = TinyFile()
    x, part = tiny.tensor(IMAGE), ((1, 8, 8, 4), FLOAT)
    first, second = tiny.apply("SPLIT", [tiny.constant(numbers(3)), x], part, part, numSplits=2)
    y = tiny.apply("CONCATENATION", [second, first], (IMAGE, FLOAT), axis=3)
    return tiny.write(path, [x], [y])


def added(count):
    """A sum of `count` tensors by one ADD_N."""

    def build(path):
        tiny = TinyFile()
        inputs = [tiny.tensor(IMAGE) for _ in range(count)]
        return tiny.write(path, inputs, [tiny.apply("ADD_N", inputs, (IMAGE, FLOAT))])

    return build


def padding(*amounts):
    """The second input of PAD."""
    return np.array(amounts, "int32")


def slicing(shape, begin, end, steps, out, **options):
    """A STRIDED_SLICE."""
    parts = [np.array(part, "int32") for part in (begin, end, steps)]
    return one("STRIDED_SLICE", shape, out, *parts, **options)


WHOLE = ((0, 0, 0, 0), (1, 8, 8, 8))
AROUND = padding((0, 0), (1, 1), (0, 0), (0, 0))
NEXT_IMAGE = padding((0, 1), (0, 0), (0, 0), (0, 0))
NEXT_ROWS = padding((0, 0), (1, 1), (0, 0))
ORDER = np.array([0, 1, 3, 2, 4], "int32")
INDEX = np.array([[0, 1], [0, 2]], "int32")

ZOO = {
    "relu": (one("RELU", IMAGE, IMAGE), RUNS),
    "relu of int8": (one("RELU", IMAGE, IMAGE, kind=INT8), RUNS),
    "relu of 5 axes": (one("RELU", (1, 2, 4, 4, 2), (1, 2, 4, 4, 2)), REFUSED),
    "transpose of 4 axes": (one("TRANSPOSE", IMAGE, IMAGE, numbers(0, 2, 1, 3)), RUNS),
    "transpose of 5 axes": (
        one("TRANSPOSE", (1, 2, 3, 4, 5), (1, 2, 4, 3, 5), ORDER),
        REFUSED,
    ),
    "index in int32": (
        one("ARG_MAX", IMAGE, (1, 8, 8), numbers(3), gives="INT32", outputType=2),
        RUNS,
    ),
    "index in int64": (
        one("ARG_MAX", IMAGE, (1, 8, 8), numbers(3), gives="INT64", outputType=4),
        REFUSED,
    ),
    "least index": (
        one("ARG_MIN", IMAGE, (1, 8, 8), numbers(3), gives="INT32", outputType=2),
        REFUSED,
    ),
    "conv of 1 group": (conv(6, 6, 1), RUNS),
    "groups of 4": (conv(4, 8, 2), RUNS),
    "groups of 4, int8": (conv(4, 8, 2, INT8), RUNS),
    "groups of 2": (conv(2, 8, 4), REFUSED),
    "groups of 4, 2 filters each": (conv(4, 4, 2), REFUSED),
    "groups of 6": (conv(6, 12, 2), REFUSED),
    "groups of 2, int8": (conv(2, 8, 4, INT8), REFUSED),
    "two matrices": (two("BATCH_MATMUL", (1, 4, 4), (1, 4, 4), (1, 4, 4)), RUNS),
    "a matrix twice": (same_twice, REFUSED),
    "sum from the front": (one("CUMSUM", IMAGE, IMAGE, numbers(3)), RUNS),
    "sum from the end": (one("CUMSUM", IMAGE, IMAGE, numbers(-1)), REFUSED),
    "4 and 4 axes, int8": (two("MUL", IMAGE, (1, 1, 1, 8), IMAGE, INT8), RUNS),
    "4 and 2 axes, float": (two("MUL", IMAGE, (8, 8), IMAGE), RUNS),
    "4 and 2 axes, int8": (two("MUL", IMAGE, (8, 8), IMAGE, INT8), REFUSED),
    "add 4 and 1 axes, int8": (two("ADD", IMAGE, (8,), IMAGE, INT8), REFUSED),
    "split, relu, add": (halves("SPLIT", IMAGE, 3, between=True), RUNS),
    "split, relu, add, batch": (halves("SPLIT", BATCH, 0, between=True), RUNS),
    "split, add": (halves("SPLIT", IMAGE, 3), REFUSED),
    "split, add, int8": (halves("SPLIT", IMAGE, 3, INT8), RUNS),
    "split_v, relu, add": (halves("SPLIT_V", IMAGE, 3, between=True), RUNS),
    "split_v, add": (halves("SPLIT_V", IMAGE, 3), REFUSED),
    "split, concatenation": (rejoined, REFUSED),
    "pad of height": (one("PAD", IMAGE, (1, 10, 8, 8), AROUND), RUNS),
    "pad of two images": (one("PAD", BATCH, (3, 4, 4, 8), NEXT_IMAGE), RUNS),
    "pad of one image": (one("PAD", IMAGE, (2, 8, 8, 8), NEXT_IMAGE), REFUSED),
    "pad of three axes": (one("PAD", (1, 4, 8), (1, 6, 8), NEXT_ROWS), RUNS),
    "pad of three axes, several": (one("PAD", (4, 4, 8), (4, 6, 8), NEXT_ROWS), REFUSED),
    "pad of two axes": (one("PAD", (1, 8), (1, 10), padding((0, 0), (1, 1))), REFUSED),
    "padv2 of height": (
        one("PADV2", IMAGE, (1, 10, 8, 8), AROUND, np.float32(1.5)),
        RUNS,
    ),
    "padv2 of two axes": (
        one("PADV2", (1, 8), (1, 10), padding((0, 0), (1, 1)), np.float32(1.5)),
        REFUSED,
    ),
    "reflected border": (one("MIRROR_PAD", IMAGE, (1, 10, 8, 8), AROUND, mode=0), RUNS),
    "repeated border": (one("MIRROR_PAD", IMAGE, (1, 10, 8, 8), AROUND, mode=1), REFUSED),
    "slice": (slicing(IMAGE, (0, 1, 1, 0), (1, 8, 8, 8), (1, 1, 1, 1), (1, 7, 7, 8)), RUNS),
    "slice with steps": (slicing(IMAGE, *WHOLE, (1, 2, 2, 1), (1, 4, 4, 8)), RUNS),
    "slice backward": (
        slicing(IMAGE, (0, 7, 0, 0), (1, -9, 8, 8), (1, -1, 1, 1), IMAGE),
        REFUSED,
    ),
    "slice that drops an axis": (
        slicing(IMAGE, *WHOLE, (1, 1, 1, 1), (1, 8, 8), shrinkAxisMask=2),
        REFUSED,
    ),
    "two terms": (added(2), RUNS),
    "three terms": (added(3), REFUSED),
    "gather": (one("GATHER", IMAGE, (1, 8, 8, 2), numbers(1, 0), axis=3), RUNS),
    "gather_nd": (one("GATHER_ND", IMAGE, (2, 8, 8), INDEX), REFUSED),
    "reshape": (one("RESHAPE", IMAGE, (1, 64, 4, 2), numbers(1, 64, 4, 2)), RUNS),
    "squeeze": (one("SQUEEZE", (1, 1, 4, 8), (1, 4, 8), squeezeDims=[1]), REFUSED),
    "expand_dims": (one("EXPAND_DIMS", (1, 4, 8), (1, 1, 4, 8), numbers(1)), REFUSED),
    "log_softmax": (one("LOG_SOFTMAX", (1, 8), (1, 8)), REFUSED),
    "softmax": (one("SOFTMAX", (1, 8), (1, 8), beta=1.0), RUNS),
    "l2 norm": (one("L2_NORMALIZATION", IMAGE, IMAGE), REFUSED),
    "widened half": (one("DEQUANTIZE", IMAGE, IMAGE, kind="FLOAT16", gives=FLOAT), REFUSED),
    "broadcast": (one("BROADCAST_TO", (1, 8, 1, 8), IMAGE, np.array(IMAGE, "int32")), REFUSED),
    "relu of other numbers": (one("RELU", IMAGE, IMAGE, kind="UINT32"), UNKNOWN),
    "not measured": (one("RANK", IMAGE, (), gives="INT32"), UNKNOWN),
}
