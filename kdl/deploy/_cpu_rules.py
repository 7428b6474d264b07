"""What runs on a processor: XNNPACK's fast kernels, TFLite's own, or nothing.

Whether XNNPACK takes an operation was measured on the smallest file that holds it, by what the
interpreter of ai-edge-litert 2.3 hands over.
"""

from kdl.deploy import _operation_facts as facts
from kdl.deploy._rule import MAY_FALL_BACK, REFUSED, UNKNOWN, DeviceRules, Rule

_MEASURED = "measured: XNNPACK in the interpreter of ai-edge-litert 2.3"
_SCHEMA = "the schema of ai-edge-litert"

# XNNPACK takes them in float and in int8 …
_BOTH = """
    ADD BATCH_MATMUL CONCATENATION CONV_2D DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE
    FULLY_CONNECTED LEAKY_RELU LOGISTIC MAX_POOL_2D MEAN MUL PAD QUANTIZE REDUCE_MAX REDUCE_MIN
    RESHAPE RESIZE_BILINEAR SLICE SPACE_TO_DEPTH SPLIT STRIDED_SLICE SUB SUM TANH TRANSPOSE
    TRANSPOSE_CONV
"""

# … or in float only.
_FLOAT = """
    ABS AVERAGE_POOL_2D CEIL COS ELU EXP FLOOR LOG MAXIMUM MINIMUM NEG PRELU RELU RELU6
    RELU_N1_TO_1 ROUND RSQRT SIN SOFTMAX SQRT SQUARE SQUARED_DIFFERENCE
"""

_QUANTIZED = ("INT8", "UINT8")


def _slow(operations, when, cause, rewrite):
    return Rule(tuple(operations), when, MAY_FALL_BACK, cause, rewrite, _MEASURED)


_RULES = [
    Rule(
        (),
        facts.custom,
        REFUSED,
        "{} is not one of TFLite's own operations: a plain runtime does not have it",
        "write it with TFLite's own operations",
        _SCHEMA,
    ),
    Rule(
        (),
        facts.beyond_schema,
        UNKNOWN,
        "{} is newer than the installed runtime",
        "update ai-edge-litert",
        _SCHEMA,
    ),
    _slow(
        [],
        facts.type_among(("INT16",)),
        "{}: int16 activations run on TFLite's reference kernels, some 30 times slower",
        'export with quantization="int8"',
    ),
    _slow(
        _FLOAT.split(),
        facts.type_among(_QUANTIZED),
        "{}: XNNPACK takes it in float only, so that TFLite's own kernel runs it",
        "",
    ),
    _slow(
        ["STRIDED_SLICE"],
        facts.strided_or_masked,
        "{}: TFLite's own kernel runs it",
        "slice with steps of 1",
    ),
    _slow(["STRIDED_SLICE"], facts.shrinks, "it drops {}: TFLite's own kernel runs it", ""),
]

CPU = DeviceRules(
    target="cpu",
    title="the processor with XNNPACK",
    known=dict.fromkeys([*_BOTH.split(), *_FLOAT.split()], _MEASURED),
    unlisted=_slow([], facts.always, "XNNPACK does not take {}: TFLite's own kernel runs it", ""),
    rules=_RULES,
)
