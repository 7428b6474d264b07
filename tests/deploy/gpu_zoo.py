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


def pointwise(kind=FLOAT, strides=2, side=8, sizes=(1, 1), groups=1):
    """A convolution of one pixel, or of `sizes` pixels, with strides or in groups."""

    def build(path):
        tiny = TinyFile()
        x = tiny.tensor((1, side, side, 8), kind)
        parts = [x, tiny.weights((8, *sizes, 8 // groups), kind), tiny.bias(8, kind)]
        out = (1, *((side - n) // strides + 1 for n in sizes), 8)
        options = {"strideW": strides, "strideH": strides, "padding": 1}
        return tiny.write(path, [x], [tiny.apply("CONV_2D", parts, (out, kind), **options)])

    return build


def padded(reader, fill=None, kind=FLOAT, pads=((0, 0), (1, 1), (1, 1), (0, 0)), **between):
    """A 3×3 pooling or convolution of an image with something around it.

    `before` is an operation before the padding, `after` one after it, `beside` one that reads the
    padded image too; with `given` that is a result itself.
    """

    def build(path):
        tiny = TinyFile()
        x = image = tiny.tensor(IMAGE, kind)
        if "before" in between:
            image = tiny.apply(between["before"], [x], (IMAGE, kind))
        shape = tuple(n + sum(pad) for n, pad in zip(IMAGE, pads, strict=True))
        parts = [image, tiny.constant(padding(*pads))]
        if fill is not None:
            parts.append(tiny.constant(np.array(fill, "float32" if kind == FLOAT else "int8")))
        wide = read = tiny.apply("PAD" if fill is None else "PADV2", parts, (shape, kind))
        if "after" in between:
            read = tiny.apply(between["after"], [wide], (shape, kind))
        y = three_by_three(tiny, reader, read, shape, kind)
        results = [y, wide] if "given" in between else [y]
        if "beside" in between:
            results.append(tiny.apply(between["beside"], [wide], (shape, kind)))
        return tiny.write(path, [x], results)

    return build


def three_by_three(tiny, operation, image, shape, kind):
    """A pooling or a convolution without padding of its own."""
    options = {"strideW": 1, "strideH": 1, "padding": 1}
    channels = shape[3]
    inputs = [image]
    if operation.endswith("POOL_2D"):
        options |= {"filterWidth": 3, "filterHeight": 3}
    else:
        lead = 1 if operation.startswith("DEPTHWISE") else channels
        inputs += [tiny.weights((lead, 3, 3, channels), kind), tiny.bias(channels, kind)]
    if operation.startswith("DEPTHWISE"):
        options["depthMultiplier"] = 1
    out = ((1, shape[1] - 2, shape[2] - 2, channels), kind)
    return tiny.apply(operation, inputs, out, **options)


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


def plain_cast(kind, gives):
    """A CAST of small integers without a scale."""

    def build(path):
        tiny = TinyFile()
        x = tiny.tensor(IMAGE, kind)
        y = tiny.apply("CAST", [x], (IMAGE, gives))
        for tensor in tiny.tensors:
            tensor.quantization = None
        return tiny.write(path, [x], [y])

    return build


def slopes(kind=None):
    """A PRELU whose slopes are computed, or constants that are widened from a type."""

    def build(path):
        tiny = TinyFile()
        x, shape = tiny.tensor(IMAGE), (1, 1, 8)
        if kind is None:
            slope = tiny.tensor(shape)
        else:
            narrow = tiny.constant(np.ones(shape, kind.lower()))
            slope = tiny.apply("DEQUANTIZE", [narrow], (shape, FLOAT))
        y = tiny.apply("PRELU", [x, slope], (IMAGE, FLOAT))
        return tiny.write(path, [x] if kind else [x, slope], [y])

    return build


def several(operation, count, out, **options):
    """An operation that joins `count` images."""

    def build(path):
        tiny = TinyFile()
        inputs = [tiny.tensor(IMAGE) for _ in range(count)]
        return tiny.write(path, inputs, [tiny.apply(operation, inputs, (out, FLOAT), **options)])

    return build


def upsampled(**options):
    """A TRANSPOSE_CONV of strides 2."""

    def build(path):
        tiny = TinyFile()
        x, size = tiny.tensor((1, 4, 4, 8)), tiny.constant(padding(*IMAGE))
        parts = [size, tiny.weights((8, 3, 3, 8)), x]
        y = tiny.apply("TRANSPOSE_CONV", parts, (IMAGE, FLOAT), strideW=2, strideH=2, **options)
        return tiny.write(path, [x], [y])

    return build


def biased(computed):
    """A FULLY_CONNECTED with a bias that is constant or not."""

    def build(path):
        tiny = TinyFile()
        x = tiny.tensor((1, 8))
        bias = tiny.tensor((4,)) if computed else tiny.bias(4)
        y = tiny.apply("FULLY_CONNECTED", [x, tiny.weights((4, 8)), bias], ((1, 4), FLOAT))
        return tiny.write(path, [x, bias] if computed else [x], [y])

    return build


def of_any_batch(operation, *constants, shape=IMAGE, out=IMAGE):
    """An operation on a batch of any size."""

    def build(path):
        tiny = TinyFile()
        x = tiny.tensor(shape, open_axes=(0,))
        parts = [x, *map(tiny.constant, constants)]
        y = tiny.apply(operation, parts, (out, FLOAT, None, (0,)))
        return tiny.write(path, [x], [y])

    return build


def placed(path):
    """A SLICE from a computed place."""
    tiny = TinyFile()
    x, begin = tiny.tensor((4, 4)), tiny.tensor((2,), "INT32")
    y = tiny.apply("SLICE", [x, begin, tiny.constant(padding(1, 1))], ((1, 1), FLOAT))
    return tiny.write(path, [x, begin], [y])


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
    "steps of 1 pixel": (pointwise(), RUNS),
    "steps of 1 pixel, int8": (pointwise(INT8), REFUSED),
    "steps of 1 pixel to 1 pixel, int8": (pointwise(INT8, side=2), RUNS),
    "steps of 1×2 pixels, int8": (pointwise(INT8, sizes=(1, 2)), RUNS),
    "no steps, int8": (pointwise(INT8, strides=1), RUNS),
    "groups of 1 pixel": (pointwise(strides=1, groups=2), RUNS),
    "groups of 1 pixel, int8": (pointwise(INT8, strides=1, groups=2), REFUSED),
    "groups of 1 pixel of 1 pixel, int8": (pointwise(INT8, 1, side=1, groups=2), REFUSED),
    "groups of 1×2 pixels, int8": (pointwise(INT8, 1, sizes=(1, 2), groups=2), RUNS),
    "average of zeros around": (padded("AVERAGE_POOL_2D"), REFUSED),
    "average of numbers around": (padded("AVERAGE_POOL_2D", fill=5), REFUSED),
    "average of zeros around, int8": (padded("AVERAGE_POOL_2D", kind=INT8), RUNS),
    "average of zeros on one side": (
        padded("AVERAGE_POOL_2D", pads=((0, 0), (1, 0), (0, 0), (0, 0))),
        REFUSED,
    ),
    "average of zero channels": (
        padded("AVERAGE_POOL_2D", pads=((0, 0), (1, 1), (1, 1), (0, 4))),
        RUNS,
    ),
    "average of zeros around and a relu": (padded("AVERAGE_POOL_2D", after="RELU"), RUNS),
    "average of zeros around that are read twice": (
        padded("AVERAGE_POOL_2D", beside="RELU"),
        RUNS,
    ),
    "average of zeros around that are a result": (padded("AVERAGE_POOL_2D", given=True), REFUSED),
    "maximum of zeros around": (padded("MAX_POOL_2D"), REFUSED),
    "maximum of zeros around, int8": (padded("MAX_POOL_2D", kind=INT8), RUNS),
    "maximum of zeros around what is above": (padded("MAX_POOL_2D", before="RELU"), RUNS),
    "maximum of zeros around logistic": (padded("MAX_POOL_2D", before="LOGISTIC"), RUNS),
    "maximum of zeros around tanh": (padded("MAX_POOL_2D", before="TANH"), REFUSED),
    "maximum of numbers around": (padded("MAX_POOL_2D", fill=5, before="RELU"), REFUSED),
    "maximum of −∞ around": (padded("MAX_POOL_2D", fill=-np.inf), RUNS),
    "conv of zeros around": (padded("CONV_2D"), RUNS),
    "conv of zeros around, as a number": (padded("CONV_2D", fill=0), RUNS),
    "conv of numbers around": (padded("CONV_2D", fill=5), REFUSED),
    "conv of numbers around, int8": (padded("CONV_2D", fill=5, kind=INT8), RUNS),
    "conv of numbers around that are read twice": (padded("CONV_2D", fill=5, beside="RELU"), RUNS),
    "depthwise of zeros around": (padded("DEPTHWISE_CONV_2D"), RUNS),
    "depthwise of numbers around": (padded("DEPTHWISE_CONV_2D", fill=5), REFUSED),
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
    "split into 1": (one("SPLIT", IMAGE, IMAGE, first=(numbers(3),), numSplits=1), REFUSED),
    "split into 1, int8": (
        one("SPLIT", IMAGE, IMAGE, first=(numbers(3),), kind=INT8, numSplits=1),
        REFUSED,
    ),
    "split_v into 1": (
        one("SPLIT_V", IMAGE, IMAGE, np.array([8], "int32"), numbers(3), numSplits=1),
        RUNS,
    ),
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
    "join with relu": (
        several("CONCATENATION", 2, (1, 8, 8, 16), axis=3, fusedActivationFunction=1),
        REFUSED,
    ),
    "join": (several("CONCATENATION", 2, (1, 8, 8, 16), axis=3), RUNS),
    "join of one": (several("CONCATENATION", 1, IMAGE, axis=3), REFUSED),
    "upsampling": (upsampled(), RUNS),
    "upsampling with relu": (upsampled(fusedActivationFunction=1), REFUSED),
    "sum with relu": (several("ADD", 2, IMAGE, fusedActivationFunction=1), RUNS),
    "sum with tanh": (several("ADD", 2, IMAGE, fusedActivationFunction=4), REFUSED),
    "softmax of one axis": (one("SOFTMAX", (8,), (8,), beta=1.0), REFUSED),
    "softmax of a beta": (one("SOFTMAX", (1, 8), (1, 8), beta=2.0), REFUSED),
    "leak": (one("LEAKY_RELU", IMAGE, IMAGE, alpha=0.1), RUNS),
    "leak of all": (one("LEAKY_RELU", IMAGE, IMAGE, alpha=1.0), RUNS),
    "leak of more": (one("LEAKY_RELU", IMAGE, IMAGE, alpha=1.5), REFUSED),
    "leak of less": (one("LEAKY_RELU", IMAGE, IMAGE, alpha=-0.1), REFUSED),
    "slice of the first axes": (
        slicing(IMAGE, (0, 0), (1, 4), (1, 1), (1, 4, 8, 8)),
        REFUSED,
    ),
    "blocks of 1": (one("DEPTH_TO_SPACE", IMAGE, IMAGE, blockSize=1), REFUSED),
    "blocks of 2": (one("DEPTH_TO_SPACE", IMAGE, (1, 16, 16, 2), blockSize=2), RUNS),
    "bias": (biased(computed=False), RUNS),
    "computed bias": (biased(computed=True), REFUSED),
    "slice from a computed place": (placed, REFUSED),
    "relu of any batch": (of_any_batch("RELU"), RUNS),
    "slice of any batch": (
        of_any_batch("SLICE", padding(0, 0, 0, 0), padding(1, 8, 8, 4), out=(1, 8, 8, 4)),
        REFUSED,
    ),
    "gather by int64": (one("GATHER", IMAGE, (1, 8, 8, 1), np.array([1]), axis=3), REFUSED),
    "pad by int64": (one("PAD", IMAGE, (1, 10, 8, 8), AROUND.astype("int64")), REFUSED),
    "slice by int64": (
        one("SLICE", IMAGE, (1, 4, 8, 8), np.zeros(4, "int64"), np.array([1, 4, 8, 8])),
        REFUSED,
    ),
    "tile by int64": (one("TILE", (1, 4, 8, 8), IMAGE, np.array([1, 2, 1, 1])), RUNS),
    "slopes in float16": (slopes("FLOAT16"), RUNS),
    "slopes in int8": (slopes("INT8"), REFUSED),
    "computed slopes": (slopes(), REFUSED),
    "bytes as float": (plain_cast("UINT8", FLOAT), RUNS),
    "int8 with a scale as float": (one("CAST", IMAGE, IMAGE, kind=INT8, gives=FLOAT), REFUSED),
    "int8 with a scale as bool": (one("CAST", IMAGE, IMAGE, kind=INT8, gives="BOOL"), RUNS),
    "product of float": (one("REDUCE_PROD", (1, 8), (1,), numbers(1)), RUNS),
    "product of int8": (
        one("REDUCE_PROD", IMAGE, (1, 8), np.array([1, 2], "int32"), kind=INT8),
        REFUSED,
    ),
    "fully connected by uint8": (
        one("FULLY_CONNECTED", (1, 8), (1, 4), np.ones((4, 8), "uint8"), kind="UINT8"),
        REFUSED,
    ),
    "variable": (one("READ_VARIABLE", (), (1, 8), kind="RESOURCE", gives=FLOAT), REFUSED),
    "relu of other numbers": (one("RELU", IMAGE, IMAGE, kind="UINT32"), UNKNOWN),
    "not measured": (one("RANK", IMAGE, (), gives="INT32"), UNKNOWN),
}
