"""Rules for LiteRT's GPU accelerator: tables of what was measured on it.

Each operation was run alone, in the smallest file that holds it, in float32 and int8, with the GPU
accelerator of ai-edge-litert 2.3.0 and no other; the outputs were compared with the CPU's. What is
not in these tables was not measured.
"""

import math

from kdl.deploy.devices import _axis_facts as axes
from kdl.deploy.devices import _convolution_facts as convolutions
from kdl.deploy.devices import _operation_facts as facts
from kdl.deploy.devices import _padding_facts as padding
from kdl.deploy.devices._rule import EDGE_TPU_ONLY, REFUSED, UNKNOWN, DeviceRules, Rule

_MEASURED = (
    "measured: LiteRT's WebGPU accelerator, ai-edge-litert 2.3.0, on a software Vulkan driver"
)
_UNMEASURED = "not measured"
_TENSORFLOW = "published: LiteRT, select TensorFlow operators: the Flex delegate runs on the CPU"
_BETWEEN = "put an operation between them: kdl.deploy.rewrite_for"
_PLAIN = "keep it out of the graph, or run this part on the CPU"
_STATE = "give the state as an input and an output"
_AFTER = "leave it out of the file, and compute it after"

_RUNS = """
    ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION CONV_2D COS CUMSUM
    DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV
    FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS
    LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_ALL REDUCE_ANY
    REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX
    SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE
    TOPK_V2 TRANSPOSE TRANSPOSE_CONV UNPACK
"""

_ELEMENTWISE = ("ADD", "MAXIMUM", "MINIMUM", "MUL", "SQUARED_DIFFERENCE", "SUB")

_REFUSED = {
    "ASSIGN_VARIABLE": _STATE,
    "CALL_ONCE": _STATE,
    "DENSIFY": "store the weights dense",
    "NON_MAX_SUPPRESSION_V4": _AFTER,
    "NON_MAX_SUPPRESSION_V5": _AFTER,
    "READ_VARIABLE": _STATE,
    "VAR_HANDLE": _STATE,
    "custom:TFLite_Detection_PostProcess": _AFTER,
    "ARG_MIN": "negate the tensor and take ARG_MAX in int32",
    "BATCH_TO_SPACE_ND": "use a dilated convolution, which the converter keeps in one",
    "BROADCAST_TO": "let the arithmetic operation after it broadcast",
    "CONV_3D": "use 2-D convolutions",
    "EXPAND_DIMS": "use RESHAPE",
    "GATHER_ND": "use GATHER or SLICE",
    "IF": "compute both branches and SELECT",
    "L2_NORMALIZATION": "square, sum, take the reciprocal root, multiply",
    "L2_POOL_2D": "square, average, take the root",
    "LOCAL_RESPONSE_NORMALIZATION": "use batch normalization",
    "LOG_SOFTMAX": "use SOFTMAX, then LOG",
    "SCATTER_ND": _PLAIN,
    "SPACE_TO_BATCH_ND": "use a dilated convolution, which the converter keeps in one",
    "SQUEEZE": "use RESHAPE",
    "UNSORTED_SEGMENT_MAX": _PLAIN,
    "UNSORTED_SEGMENT_SUM": _PLAIN,
    "WHERE": _PLAIN,
    "WHILE": "unroll the loop",
}


_TYPES = ("FLOAT32", "INT8", "UINT8", "INT32", "BOOL")
_NO_TYPES = ("INT64", "INT16")


def _refused(operations, when, cause, rewrite):
    return Rule(tuple(operations), when, REFUSED, cause, rewrite, _MEASURED)


_RULES = [
    EDGE_TPU_ONLY,
    Rule(
        (),
        facts.flex,
        REFUSED,
        "{} is an operation of TensorFlow, which runs on the CPU",
        "write it with TFLite's own operations",
        _TENSORFLOW,
    ),
    *(
        _refused([name], facts.always, "the accelerator has no {}", rewrite)
        for name, rewrite in _REFUSED.items()
    ),
    _refused(
        [],
        facts.rank_above(4),
        "{}: four axes are the most",
        "fold two axes into one, as kdl's channel shuffle does",
    ),
    _refused(
        [],
        facts.type_among(_NO_TYPES),
        "{}: the accelerator has no such numbers",
        "use int32 for indices, int8 or float for values",
    ),
    Rule(
        (),
        facts.type_outside((*_TYPES, *_NO_TYPES, "FLOAT16")),
        UNKNOWN,
        "{}: such numbers were not measured",
        "",
        _UNMEASURED,
    ),
    _refused(
        ["CONV_2D"],
        convolutions.odd_groups,
        "mobile GPUs compute {} wrong, or die",
        "split, convolve, concatenate: kdl.deploy.rewrite_for, or export a GroupedConv2D",
    ),
    _refused(
        ["CONV_2D"],
        convolutions.grouped_pointwise,
        "an int8 1×1 convolution in {} is computed wrong",
        "split, convolve, concatenate: kdl.deploy.rewrite_for",
    ),
    _refused(
        ["CONV_2D"],
        convolutions.strided_pointwise,
        "an int8 1×1 convolution with {} is computed as if it had none",
        "slice with steps, then convolve without strides: kdl.deploy.rewrite_for",
    ),
    _refused(
        ["AVERAGE_POOL_2D"],
        padding.averages_padding,
        "what {} puts around the image is left out of the averages",
        _BETWEEN,
    ),
    _refused(
        ["MAX_POOL_2D"],
        padding.pools_padding,
        "what {} puts around the image, which may be negative, is left out of the maxima",
        _BETWEEN,
    ),
    _refused(
        ["CONV_2D", "DEPTHWISE_CONV_2D"],
        padding.convolves_padding,
        "what {} puts around the image is taken for zeros",
        _BETWEEN,
    ),
    _refused(
        ["BATCH_MATMUL"],
        facts.same_tensor_twice,
        "{} is both factors, which ends the process",
        "multiply one factor by 1, so that it is another tensor",
    ),
    _refused(
        ["SPLIT"],
        axes.only_part,
        "a split into {} ends the process",
        "take what it splits: kdl.deploy.rewrite_for",
    ),
    _refused(
        ["CUMSUM"],
        axes.negative_axis,
        "an axis of {} ends the process",
        "count the axis from the front",
    ),
    _refused(
        _ELEMENTWISE,
        facts.computed_int8_ranks,
        "int8 tensors of {} axes are combined wrong",
        "reshape them to as many axes",
    ),
    _refused(
        [*_ELEMENTWISE, "CONCATENATION", "DIV", "POW"],
        axes.parts_of_one_split,
        "it reads {} and nothing else, which gives wrong numbers or none, depending on the order",
        "put an operation such as RELU between, or SLICE instead of SPLIT",
    ),
    _refused(
        ["DEQUANTIZE"],
        facts.computed_half,
        "{}: only constants are widened",
        "compute in float32; the weights may stay float16",
    ),
    _refused(
        ["PAD", "PADV2"],
        padding.pads_one_image,
        "padding {} of one image gives wrong numbers",
        "concatenate zeros",
    ),
    _refused(
        ["PAD", "PADV2"],
        padding.pads_rows_of_several,
        "padding {} gives wrong numbers",
        "reshape to four axes, the first of them 1",
    ),
    _refused(
        ["PAD", "PADV2"],
        facts.rank_below(3),
        "it takes amounts for three or four axes; {}",
        "reshape to four axes before, and back after",
    ),
    _refused(
        ["MIRROR_PAD"],
        facts.symmetric_mode,
        "the {} mode is not known to it",
        'pad with mode "reflect"',
    ),
    _refused(
        ["STRIDED_SLICE"],
        axes.shrinks,
        "it drops {}",
        "slice with a length of 1, then reshape",
    ),
    _refused(
        ["STRIDED_SLICE"],
        axes.backward_steps,
        "steps of {} go backward",
        "use REVERSE_V2",
    ),
    _refused(
        ["CONCATENATION", "TRANSPOSE_CONV"],
        facts.fused_activation,
        "{} at its end is left out, or refused",
        "put the activation after it, in an operation of its own",
    ),
    _refused(
        [*_ELEMENTWISE, "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV", "MAX_POOL_2D"],
        facts.foreign_activation,
        "with {} at its end its results are not those of the CPU",
        "put the activation after it, in an operation of its own",
    ),
    _refused(
        ["CONCATENATION"],
        facts.count_outside(2, math.inf, "inputs"),
        "a concatenation of {} gives wrong numbers",
        "leave it out",
    ),
    _refused(
        ["SOFTMAX", "TRANSPOSE"],
        facts.rank_below(2),
        "{}: two axes are the least",
        "reshape to two axes before, and back after",
    ),
    _refused(["SOFTMAX"], facts.other_beta, "its beta is {}, not 1", "multiply before it"),
    _refused(
        ["LEAKY_RELU"],
        facts.slope_outside(0, 1),
        "{}: from 0 to 1 it is computed right",
        "use PRELU",
    ),
    _refused(
        ["STRIDED_SLICE"],
        axes.fewer_axes,
        "it names {}",
        "name all axes",
    ),
    _refused(
        ["DEPTH_TO_SPACE", "SPACE_TO_DEPTH"],
        facts.blocks_of_one,
        "it has {}",
        "leave it out",
    ),
    _refused(
        ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"],
        facts.computed_input(2),
        "its bias {} is computed, which ends the process",
        "add it with ADD",
    ),
    _refused(
        ["SLICE"],
        facts.open_sizes,
        "{} has a dynamic dimension",
        "export with a fixed input shape",
    ),
    _refused(
        ["SLICE"],
        facts.computed_input(1),
        "it begins at {}, which is computed",
        "slice at a constant place",
    ),
    _refused(
        ["GATHER", "PAD", "SLICE"],
        facts.wide_indices,
        "{}: it takes int32 only",
        "use int32 for indices and sizes",
    ),
    _refused(
        ["PRELU"],
        facts.computed_slopes,
        "its slopes {} are computed",
        "make the slopes constant",
    ),
    _refused(
        ["FULLY_CONNECTED"],
        facts.unsigned_weights,
        "{}: it takes weights in int8, or in float",
        'export with quantization="int8"',
    ),
    _refused(
        ["CAST"],
        facts.quantized_cast,
        "{} with a scale, by which the accelerator multiplies",
        "use QUANTIZE or DEQUANTIZE, or leave the scale out",
    ),
    _refused(
        ["REDUCE_PROD"],
        facts.quantized_product,
        "{}: products of integers are computed wrong",
        "multiply in float32",
    ),
    _refused(
        ["ADD_N"],
        facts.inputs_above(2),
        "{} terms: two are the most",
        "add them one after the other with ADD",
    ),
]

GPU = DeviceRules(
    target="gpu",
    title="LiteRT's GPU accelerator",
    known=dict.fromkeys([*_RUNS.split(), "ADD_N", "custom:Convolution2DTransposeBias"], _MEASURED),
    unlisted=Rule((), facts.always, UNKNOWN, "{} was not measured", "", _UNMEASURED),
    rules=_RULES,
)
