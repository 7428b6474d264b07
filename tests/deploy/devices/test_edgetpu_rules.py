"""The Edge TPU's table: each side of each rule, in the smallest file that shows it."""

import numpy as np
import pytest
from gpu_zoo import AROUND, IMAGE, added, conv, halves, numbers, one, padding, two
from tiny_tflite import FLOAT, INT8, TinyFile

from kdl.deploy import check
from kdl.deploy.devices import _operation_facts as facts
from kdl.deploy.devices._edgetpu_rules import EDGE_TPU
from kdl.deploy.tflite.graph import read_operations

RUNS, FALLS, REFUSED, UNKNOWN = "runs", "may fall back", "refused", "unknown"


def weighted(operation, kernel, out, constant=True, **options):
    """A layer with weights that are constant, or not."""

    def build(path):
        tiny = TinyFile()
        x = tiny.tensor((1, 8) if operation == "FULLY_CONNECTED" else IMAGE, INT8)
        w = tiny.weights(kernel, INT8) if constant else tiny.tensor(kernel, INT8)
        inputs = [x, w, tiny.bias(out[-1], INT8)]
        y = tiny.apply(operation, inputs, (out, INT8), **options)
        return tiny.write(path, [x] if constant else [x, w], [y])

    return build


def rows(count):
    """A fully connected layer on several rows."""

    def build(path):
        tiny = TinyFile()
        x = tiny.tensor((count, 8), INT8)
        inputs = [x, tiny.weights((4, 8), INT8), tiny.bias(4, INT8)]
        return tiny.write(path, [x], [tiny.apply("FULLY_CONNECTED", inputs, ((count, 4), INT8))])

    return build


def beside(values, more=0):
    """A concatenation with a constant, and perhaps with further tensors."""

    def build(path):
        tiny = TinyFile()
        xs = [tiny.tensor(IMAGE, INT8) for _ in range(1 + more)]
        constant = tiny.constant(np.full(IMAGE, values, "int8"))
        out = (1, 8, 8, 8 * (2 + more))
        y = tiny.apply("CONCATENATION", [*xs, constant], (out, INT8), axis=3)
        return tiny.write(path, xs, [y])

    return build


def open_batch(path):
    """A file whose batch is open."""
    tiny = TinyFile()
    x = tiny.tensor(IMAGE, INT8, None, (0,))
    return tiny.write(path, [x], [tiny.apply("RELU", [x], (IMAGE, INT8, None, (0,)))])


def slopes(shape):
    """A PReLU."""
    return one("PRELU", IMAGE, IMAGE, np.ones(shape, "int8"), kind=INT8)


def int8(operation, shape, out, *constants, **options):
    return one(operation, shape, out, *constants, kind=INT8, **options)


ONE = {"strideW": 1, "strideH": 1}
EVEN = {**ONE, "dilationHFactor": 2, "dilationWFactor": 2}
UNEVEN = {**ONE, "dilationHFactor": 2, "dilationWFactor": 1}
POOL = {"strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
HALF = (1, 4, 4, 8)

ZOO = {
    "int8": (int8("RELU", IMAGE, IMAGE), RUNS),
    "uint8": (one("RELU", IMAGE, IMAGE, kind="UINT8"), RUNS),
    "float": (one("RELU", IMAGE, IMAGE), REFUSED),
    "not in the table": (int8("LEAKY_RELU", IMAGE, IMAGE), REFUSED),
    "open batch": (open_batch, REFUSED),
    "two images": (int8("RELU", (2, 4, 4, 8), (2, 4, 4, 8)), REFUSED),
    "two leading ones": (int8("RELU", (1, 1, 4, 4, 8), (1, 1, 4, 4, 8)), RUNS),
    "conv": (weighted("CONV_2D", (8, 3, 3, 8), IMAGE, **ONE), RUNS),
    "conv, computed kernel": (weighted("CONV_2D", (8, 3, 3, 8), IMAGE, False, **ONE), REFUSED),
    "conv, even dilation": (weighted("CONV_2D", (8, 3, 3, 8), IMAGE, **EVEN), RUNS),
    "conv, uneven dilation": (weighted("CONV_2D", (8, 3, 3, 8), IMAGE, **UNEVEN), REFUSED),
    "groups": (conv(4, 8, 2, INT8), UNKNOWN),
    "dense": (rows(1), RUNS),
    "dense on rows": (rows(3), REFUSED),
    "dense, packed weights": (
        weighted("FULLY_CONNECTED", (4, 8), (1, 4), weightsFormat=1),
        REFUSED,
    ),
    "pool": (int8("MAX_POOL_2D", IMAGE, HALF, **POOL), RUNS),
    "pool with relu": (
        int8("MAX_POOL_2D", IMAGE, HALF, fusedActivationFunction=1, **POOL),
        REFUSED,
    ),
    "concatenation with zeros": (beside(0), RUNS),
    "concatenation with ones": (beside(1), REFUSED),
    "concatenation of three with zeros": (beside(0, more=1), REFUSED),
    "mean of pixels": (int8("MEAN", IMAGE, (1, 8), np.array([1, 2], "int32")), RUNS),
    "mean of 8 channels": (int8("MEAN", IMAGE, (1, 8, 8), numbers(3)), RUNS),
    "mean of 6 channels": (int8("MEAN", (1, 8, 8, 6), (1, 8, 8), numbers(3)), REFUSED),
    "sum over the batch": (int8("SUM", IMAGE, (8, 8, 8), numbers(0)), REFUSED),
    "pack": (two("PACK", (4, 8), (4, 8), (4, 2, 8), INT8, axis=1, valuesCount=2), RUNS),
    "pack of batches": (
        two("PACK", (4, 8), (4, 8), (2, 4, 8), INT8, axis=0, valuesCount=2),
        REFUSED,
    ),
    "pad": (int8("PAD", IMAGE, (1, 10, 8, 8), AROUND), RUNS),
    "pad of the batch": (
        int8("PAD", (1, 8), (3, 8), padding((1, 1), (0, 0))),
        REFUSED,
    ),
    "split": (halves("SPLIT", IMAGE, 3, INT8), RUNS),
    "split of the batch": (halves("SPLIT", (2, 1, 8, 8), 0, INT8), REFUSED),
    "slopes of channels": (slopes((1, 1, 8)), RUNS),
    "slopes of pixels": (slopes((8, 8, 8)), REFUSED),
    "reshape of ones": (int8("RESHAPE", (1, 1, 1, 8), (1, 8), numbers(1, 8)), RUNS),
    "reshape of pixels": (int8("RESHAPE", IMAGE, (1, 64, 8), numbers(1, 64, 8)), FALLS),
    "resize": (int8("RESIZE_BILINEAR", HALF, IMAGE, numbers(8, 8)), FALLS),
    "softmax": (int8("SOFTMAX", (1, 16_000), (1, 16_000)), RUNS),
    "softmax of too many": (int8("SOFTMAX", (1, 16_001), (1, 16_001)), REFUSED),
    "softmax of rows": (int8("SOFTMAX", (2, 8), (2, 8)), REFUSED),
    "squeeze of leading ones": (int8("SQUEEZE", (1, 1, 4, 8), (4, 8), squeezeDims=[0, 1]), RUNS),
    "squeeze inside": (int8("SQUEEZE", (4, 1, 8), (4, 8), squeezeDims=[1]), REFUSED),
    "transpose": (int8("TRANSPOSE", IMAGE, IMAGE, numbers(0, 2, 1, 3)), FALLS),
    "three terms": (added(3), REFUSED),
}


def strided(steps, out, **options):
    begin, end = np.zeros(4, "int32"), np.array(IMAGE, "int32")
    return int8("STRIDED_SLICE", IMAGE, out, begin, end, np.array(steps, "int32"), **options)


ZOO |= {
    "slice": (strided((1, 1, 1, 1), IMAGE), RUNS),
    "slice with steps": (strided((1, 2, 2, 1), HALF), REFUSED),
    "slice with a new axis": (strided((1, 1, 1, 1), IMAGE, newAxisMask=1), REFUSED),
}


@pytest.mark.parametrize("name", ZOO)
def test_each_side_of_each_rule(name, tmp_path):
    build, verdict = ZOO[name]
    report = check(build(tmp_path / "zoo.tflite"), "edgetpu")
    assert report.verdict == verdict, str(report)


def test_every_rule_is_broken_by_a_file(tmp_path):
    """But for those of custom and unknown operations, which `test_check.py` has."""
    broken = set()
    for build, _ in ZOO.values():
        for operation in read_operations(build(tmp_path / "zoo.tflite")).operations:
            broken |= {rule.cause for rule, _ in EDGE_TPU.broken(operation)}
    unseen = (facts.other_custom, facts.flex, facts.beyond_schema)
    rules = [r for r in EDGE_TPU.rules if r.when not in unseen]
    never = {"TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM"}  # whatever they are like
    assert {r.cause for r in rules if not never & set(r.operations)} <= broken


def chain(kinds, path):
    """RELUs, and operations of other kinds between them, that work on an int8 image."""
    tiny = TinyFile()
    x = inputs = tiny.tensor(IMAGE, INT8)
    for kind in kinds:
        if kind == "CONV_2D":
            weights = [tiny.weights((8, 3, 3, 8), INT8), tiny.bias(8, INT8)]
            x = tiny.apply(kind, [x, *weights], (IMAGE, INT8), **ONE)
        elif kind == "TRANSPOSE":
            x = tiny.apply(kind, [x, tiny.constant(numbers(0, 2, 1, 3))], (IMAGE, INT8))
        else:
            x = tiny.apply(kind, [x], (IMAGE, INT8))
    return tiny.write(path, [inputs], [x])


def test_what_comes_after_the_first_refusal_is_lost(tmp_path):
    path = chain(["CONV_2D", "LEAKY_RELU", "CONV_2D"], tmp_path / "m.tflite")
    report = check(path, "edgetpu")
    assert [o.verdict for o in report.operations] == [RUNS, REFUSED, REFUSED]
    assert "comes after #1 LEAKY_RELU" in report.operations[2].cause
    assert report.macs_share == report.macs_share_at_best == 0.5


def test_what_comes_after_a_doubt_is_in_doubt(tmp_path):
    path = chain(["CONV_2D", "TRANSPOSE", "CONV_2D", "LEAKY_RELU"], tmp_path / "m.tflite")
    report = check(path, "edgetpu")
    assert [o.verdict for o in report.operations] == [RUNS, FALLS, FALLS, REFUSED]
    assert "may be left" in report.operations[2].cause
    assert "LEAKY_RELU is not in the table" in report.operations[3].cause
    assert (report.macs_share, report.macs_share_at_best) == (0.5, 1.0)


def test_a_refusal_after_a_doubt_takes_over(tmp_path):
    path = chain(["TRANSPOSE", "RELU", "LEAKY_RELU", "RELU"], tmp_path / "m.tflite")
    report = check(path, "edgetpu")
    assert [o.verdict for o in report.operations] == [FALLS, FALLS, REFUSED, REFUSED]
    assert "comes after #2 LEAKY_RELU" in report.operations[3].cause


def test_a_float_input_is_quantized_before_the_partition(tmp_path):
    tiny = TinyFile()
    x = tiny.tensor(IMAGE)
    quantized = tiny.apply("QUANTIZE", [x], (IMAGE, INT8))
    y = tiny.apply("RELU", [quantized], (IMAGE, INT8))
    z = tiny.apply("DEQUANTIZE", [y], (IMAGE, FLOAT))
    report = check(tiny.write(tmp_path / "m.tflite", [x], [z]), "edgetpu")
    assert [o.verdict for o in report.operations] == [REFUSED, RUNS, REFUSED]


def compiled(path, after=None):
    """A file as the compiler for the Edge TPU writes it, with something left to the CPU."""
    tiny = TinyFile()
    x = tiny.tensor(IMAGE, "UINT8")
    y = tiny.apply("CUSTOM:edgetpu-custom-op", [x], (IMAGE, "UINT8"), content=b"program")
    if after:
        y = tiny.apply(after, [y], (IMAGE, "UINT8"))
    return tiny.write(path, [x], [y])


def test_a_compiled_file_runs_on_its_device_and_on_no_other(tmp_path):
    path = compiled(tmp_path / "m_edgetpu.tflite")
    [operation] = check(path, "edgetpu").operations
    assert (operation.verdict, operation.cause) == (RUNS, "")
    assert operation.source.startswith("published: Coral")
    for target in ("gpu", "cpu"):
        [operation] = check(path, target).operations
        assert operation.verdict == REFUSED
        assert "only that runs it" in operation.cause
        assert "measured" not in operation.source


def test_what_the_compiler_left_out_is_left_to_the_cpu(tmp_path):
    """Even what the device would take: the compiler has decided."""
    report = check(compiled(tmp_path / "m_edgetpu.tflite", after="RELU"), "edgetpu")
    assert [o.verdict for o in report.operations] == [RUNS, REFUSED]
    assert "left to the CPU when the file was compiled" in report.operations[1].cause
