"""Rules for CPUs: XNNPACK's fast kernels, TFLite's own, or nothing.

`_cpu_table.json` holds what was measured for each operation and type; the rules here are for what
its parameters change. `tests/deploy/cpu_zoo.py` has the files on both sides of each rule, and a
test holds the verdicts to what the interpreter does with them.
"""

from kdl.deploy.devices import _axis_facts as axes
from kdl.deploy.devices import _cpu_facts as facts
from kdl.deploy.devices import _operation_facts as any_facts
from kdl.deploy.devices._cpu_table import cpu_table
from kdl.deploy.devices._rule import (
    EDGE_TPU_ONLY,
    MAY_FALL_BACK,
    REFUSED,
    UNKNOWN,
    DeviceRules,
    Rule,
)

_TABLE = cpu_table()
_RUNTIME = f"ai-edge-litert {_TABLE['runtime']}"
_MEASURED = (
    f"measured: the interpreter of {_RUNTIME} with XNNPACK, {_TABLE['machine']}, {_TABLE['date']}"
)
_UNMEASURED = f"not measured: {_RUNTIME} has more operations and types than were run"
_SLOW = "TFLite's own kernel runs it"

_BINARY = ("ADD", "DIV", "MUL", "SUB")
_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
_REDUCTIONS = ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM")
# XNNPACK moves their integers and can't scale them, but takes the operation all the same.
_MOVES = (
    *("CONCATENATION", "DEPTH_TO_SPACE", "MAX_POOL_2D", "PAD", "RESIZE_BILINEAR", "SLICE"),
    *("SPACE_TO_DEPTH", "SPLIT", "STRIDED_SLICE", "TRANSPOSE"),
)
# XNNPACK takes them whatever their rank.
_ANY_RANK = ("BATCH_MATMUL", "CONCATENATION", "FULLY_CONNECTED", "PAD", "SPLIT", *_REDUCTIONS)


def _slow(operations, when, cause, rewrite=""):
    return Rule(tuple(operations), when, MAY_FALL_BACK, f"{cause}: {_SLOW}", rewrite, _MEASURED)


def _refused(operations, when, cause, rewrite):
    return Rule(tuple(operations), when, REFUSED, cause, rewrite, _MEASURED)


_TYPES = [
    EDGE_TPU_ONLY,
    _refused(
        [],
        any_facts.flex,
        "{} is an operation of TensorFlow: a runtime without its Flex delegate does not have it",
        "write it with TFLite's own operations",
    ),
    _refused(
        [],
        facts.absent_custom,
        "{} is a custom operation, which " + _RUNTIME + " does not have",
        "write it with TFLite's own operations, or register its kernel in the app",
    ),
    Rule(
        (),
        any_facts.beyond_schema,
        UNKNOWN,
        "{} is newer than the installed runtime",
        "update ai-edge-litert",
        "the schema of the installed ai-edge-litert",
    ),
    _refused(
        [],
        facts.absent,
        _RUNTIME + " has no kernel of {}",
        "write it with operations that it has",
    ),
    _refused([], facts.too_new, _RUNTIME + " does not have {}", "export with an older TensorFlow"),
    _refused([], facts.without_kernel, _RUNTIME + " does not compute {}", "use float32 or int8"),
    _slow([], facts.left_to_kernels, "XNNPACK does not take {}"),
    Rule((), facts.unmeasured, UNKNOWN, "{} was not measured", "", _UNMEASURED),
]

_PARAMETERS = [
    _slow([], any_facts.rank_above(6), "{}: six axes are the most", "fold axes into one"),
    _refused(
        _ANY_RANK,
        any_facts.rank_above(6),
        "{}: XNNPACK fails with more than six axes",
        "fold axes into one",
    ),
    _refused(
        ["SOFTMAX"],
        facts.float_rank_above(6),
        "{}: XNNPACK fails with more than six axes",
        "fold axes into one",
    ),
    _slow(
        [*_BINARY, *_POOLS, *_CONVOLUTIONS],
        any_facts.foreign_activation,
        "XNNPACK does not fuse {}, and TFLite's own kernels may leave it out",
        "put the activation after it",
    ),
    _refused(
        ["FULLY_CONNECTED"],
        any_facts.foreign_activation,
        "no kernel ends with {}",
        "put the activation after it",
    ),
    _slow(
        ["CONCATENATION"],
        any_facts.count_outside(2, 5, "inputs"),
        "XNNPACK joins two to five tensors, not {}",
        "concatenate in several steps",
    ),
    _slow(
        ["SPLIT"],
        any_facts.count_outside(2, 4, "outputs"),
        "XNNPACK splits into two to four parts, not {}",
        "split in several steps",
    ),
    _slow(["SOFTMAX"], any_facts.other_beta, "its beta is {}, not 1", "multiply before it"),
    _slow(["LEAKY_RELU"], facts.zero_slope, "it has {}", "use RELU"),
    _slow(["LEAKY_RELU"], facts.extreme_slope, "{} is beyond XNNPACK's for these scales"),
    _slow(
        ["PRELU"],
        any_facts.computed_input(1),
        "its slopes {} are computed",
        "make the slopes constant",
    ),
    _slow(["SLICE"], any_facts.computed_input(1), "it begins at {}, which is computed"),
    _slow(["SLICE"], any_facts.computed_input(2), "its sizes {} are computed"),
    _slow(["SLICE"], facts.negative_sizes, "it has {}", "give the size as a number"),
    _slow(["STRIDED_SLICE"], axes.strided_or_masked, "it has {}", "slice with steps of 1"),
    _slow(["STRIDED_SLICE"], axes.shrinks, "it drops {}", "slice, then reshape"),
    _slow(["STRIDED_SLICE"], axes.fewer_axes, "it names {}", "name all axes"),
    _slow(["STRIDED_SLICE"], any_facts.computed_input(1), "it begins at {}, which is computed"),
    _slow(["STRIDED_SLICE"], any_facts.computed_input(2), "it ends at {}, which is computed"),
    _slow(
        _POOLS,
        facts.steps_beyond_window,
        "it steps over pixels: strides of {}",
        "slice with steps of 1, or use larger windows",
    ),
    _slow(
        ["DEPTH_TO_SPACE", "SPACE_TO_DEPTH"], any_facts.blocks_of_one, "it has {}", "leave it out"
    ),
    _slow(
        ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"],
        any_facts.computed_input(1),
        "its weights {} are computed",
        "make the weights constant",
    ),
    _slow(
        ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"],
        any_facts.computed_input(2),
        "its bias {} is computed",
        "make the bias constant",
    ),
    _slow(
        [*_REDUCTIONS, "PAD", "RESHAPE", "RESIZE_BILINEAR", "TRANSPOSE"],
        any_facts.computed_input(1),
        "{} is computed, not constant",
        "export with a fixed input shape",
    ),
    _slow(["SPLIT"], any_facts.computed_input(0), "its axis {} is computed", "make it constant"),
    _slow(["DEQUANTIZE"], facts.computed_half, "{} and computed", "compute in float32"),
    _slow(["ADD", "SUB"], facts.ratio_outside(1 / 1024, 256), "scales of {} are too far apart"),
    _slow(["MUL"], facts.product_ratio_outside(2**-16, 256), "scales of {} are too far apart"),
    _slow(
        ["QUANTIZE", "LEAKY_RELU"],
        facts.ratio_outside(1 / 256, 128, inclusive=True),
        "scales of {} are too far apart",
    ),
    _slow(["RESHAPE"], facts.changed_scale, "it goes from {}"),
    _refused(
        _MOVES,
        facts.changed_scale,
        "it goes from {}, with which XNNPACK fails",
        "quantize to one scale before it",
    ),
]

CPU = DeviceRules(
    target="cpu",
    title="the CPU with XNNPACK",
    known=dict.fromkeys(_TABLE["operations"], _MEASURED),
    unlisted=Rule((), any_facts.always, UNKNOWN, "{} was not measured", "", _UNMEASURED),
    rules=[*_TYPES, *_PARAMETERS],
)
