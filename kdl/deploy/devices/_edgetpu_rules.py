"""Rules for Coral's Edge TPU: its published table, and what its users' reports add.

No compiler for it was at hand, so nothing here was measured. What the table leaves open is
"unknown" or "may fall back", never "runs".
"""

from kdl.deploy.devices import _axis_facts as axes
from kdl.deploy.devices import _convolution_facts as convolutions
from kdl.deploy.devices import _operation_facts as facts
from kdl.deploy.devices import _padding_facts as padding
from kdl.deploy.devices._rule import MAY_FALL_BACK, REFUSED, UNKNOWN, DeviceRules, Rule

_TABLE = "published: Coral, TensorFlow models on the Edge TPU, supported operations (compiler 16)"
_TRANSPOSE = "reported: google-coral/edgetpu issues 193 and 433"
_TRANSPOSE_CONV = "reported: google-coral/edgetpu issues 684 and 686"
_COMPILER = "published: Coral, Edge TPU compiler; google-coral/edgetpu issues 546 and 625"
_COMPILED = "custom:edgetpu-custom-op"
_OPEN = "not documented"

_LISTED = """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED
    L2_NORMALIZATION LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE
    REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH
    TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM
"""

_INT8 = ("INT8", "UINT8")
_QUANTIZE = 'export with quantization="int8"'


def _refused(operations, when, cause, rewrite):
    return Rule(tuple(operations), when, REFUSED, cause, rewrite, _TABLE)


def _open(operations, when, cause, rewrite, source, verdict=MAY_FALL_BACK):
    return Rule(tuple(operations), when, verdict, cause, rewrite, source)


_RULES = [
    _refused(
        [],
        facts.other_custom,
        "{} is a custom operation, which the table of what it runs does not have",
        "leave it to the CPU, at the end of the file",
    ),
    _refused(
        [],
        facts.flex,
        "{} is an operation of TensorFlow, which the table of what it runs does not have",
        "write it with TFLite's own operations",
    ),
    _open(
        [],
        facts.beyond_schema,
        "{} is newer than the tables",
        "update ai-edge-litert",
        _OPEN,
        UNKNOWN,
    ),
    _refused([], facts.type_outside(_INT8), "{}: it takes int8 and uint8 only", _QUANTIZE),
    _refused([], facts.open_sizes, "{} has an open size", "export with a fixed input shape"),
    _refused(
        [],
        facts.wide_axes_above(3),
        "{}: only the three innermost axes may be above 1",
        "export with batch_size=1, and fold axes into one",
    ),
    _refused(
        ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"],
        facts.computed_parameters,
        "{} is computed: parameters must be constant",
        "make the weights constant",
    ),
    _refused(
        ["AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION"],
        facts.fused_activation,
        "{} is fused with it",
        "put the activation before it",
    ),
    _refused(
        ["CONCATENATION"],
        facts.constant_beside_more,
        "{} is constant: only one block of zeros beside one tensor is taken",
        "pad instead",
    ),
    _refused(
        ["CONV_2D", "DEPTHWISE_CONV_2D"],
        convolutions.uneven_dilation,
        "dilations of {} differ",
        "dilate both directions alike",
    ),
    _open(
        ["CONV_2D"],
        convolutions.grouped,
        "convolution in {} is not documented",
        "split, convolve, concatenate: kdl.deploy.rewrite_for",
        _OPEN,
        UNKNOWN,
    ),
    _refused(
        ["FULLY_CONNECTED"],
        convolutions.special_weights,
        "its weights have {}: only the default is taken",
        "export it anew with this version of TensorFlow",
    ),
    _refused(
        ["FULLY_CONNECTED"],
        facts.several_rows,
        "its result is {}: only one row is taken",
        "use a 1×1 convolution",
    ),
    _refused(
        ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"],
        axes.over_batch,
        "it reduces {}",
        "reduce height, width or channels only",
    ),
    _refused(
        ["MEAN"],
        axes.over_odd_channels,
        "it averages {}: 4 must divide them",
        "widen the layer before it",
    ),
    _refused(["PACK"], axes.packs_batch, "it packs {}", "pack another axis"),
    _refused(["PAD"], padding.pads_batch, "it pads {}", "pad height or width only"),
    _refused(["SPLIT"], axes.splits_batch, "it splits {}", "split another axis"),
    _refused(["PRELU"], facts.alpha_of_more_axes, "slopes of {}", "share slopes over the pixels"),
    _open(
        ["RESHAPE"],
        axes.moves_sizes,
        "from {}: certain reshapes are not mapped for large tensors",
        "avoid it, or keep the tensor small",
        _TABLE,
    ),
    _open(
        ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"],
        facts.always,
        "depending on its size, {} is not mapped, to avoid a loss of precision",
        "use small factors",
        _TABLE,
    ),
    _refused(
        ["SOFTMAX"],
        facts.several_rows,
        "its input is {}: only one row is taken",
        "leave it out of the file, and compute it after",
    ),
    _refused(
        ["SOFTMAX"],
        facts.above_elements(16_000),
        "{}: 16,000 are the most",
        "leave it out of the file, and compute it after",
    ),
    _refused(
        ["SQUEEZE"],
        axes.squeezes_inner,
        "of {}: only leading axes of 1 may go",
        "keep the axis",
    ),
    _refused(
        ["STRIDED_SLICE"],
        axes.strided_or_masked,
        "{}: not taken",
        "slice with steps of 1, or use a pooling with strides",
    ),
    _open(
        ["TRANSPOSE"],
        facts.always,
        "{} is refused by compilers before 16, and by 16 at times without a reason",
        'shuffle channels by a 1×1 convolution: ChannelShuffle(mode="conv1x1"), '
        "kdl.deploy.rewrite_for",
        _TRANSPOSE,
    ),
    _open(
        ["TRANSPOSE_CONV"],
        facts.always,
        "{} is not mapped for some sizes",
        "resize, then convolve",
        _TRANSPOSE_CONV,
    ),
    _open(
        ["UNIDIRECTIONAL_SEQUENCE_LSTM"],
        facts.always,
        "the limits of {} are not documented",
        "",
        _TABLE,
    ),
]

EDGE_TPU = DeviceRules(
    target="edgetpu",
    title="Coral's Edge TPU",
    known=dict.fromkeys(_LISTED.split(), _TABLE),
    unlisted=_refused(
        [], facts.always, "{} is not in the table of what it runs", "use operations of the table"
    ),
    rules=_RULES,
    one_partition=True,
)

# Of a file that the compiler has written: it holds what the device runs as one custom operation.
EDGE_TPU_COMPILED = DeviceRules(
    target="edgetpu",
    title="Coral's Edge TPU",
    known={_COMPILED: _COMPILER},
    unlisted=Rule(
        (),
        facts.always,
        REFUSED,
        "{} was left to the CPU when the file was compiled",
        "check the file from before the compiler, which tells why",
        _COMPILER,
    ),
    rules=[],
)
