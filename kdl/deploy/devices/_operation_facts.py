"""Predicates of operations for the rules: each gives a text of what it found, or nothing."""

import numpy as np

# Constants of these types are widened before the first run.
_WIDENED = ("FLOAT16", "INT8")


def always(operation):
    """Whatever the operation."""
    return operation.name


def custom(operation):
    """An operation outside TFLite's own."""
    return operation.name if operation.name.startswith("custom:") else ""


def flex(operation):
    """An operation of TensorFlow in a `.tflite` file."""
    return operation.name if operation.name.startswith("custom:Flex") else ""


def compiled_for_edgetpu(operation):
    """The operation that the compiler for the Edge TPU puts in place of those that it maps."""
    return operation.name if operation.name == "custom:edgetpu-custom-op" else ""


def other_custom(operation):
    """A custom operation that is neither."""
    special = flex(operation) or compiled_for_edgetpu(operation)
    return "" if special else custom(operation)


def beyond_schema(operation):
    """An operation newer than the schema that reads the file."""
    return operation.name if operation.name.startswith("unknown:") else ""


def rank_above(limit):
    """A tensor that is computed and has more than `limit` axes."""

    def when(operation):
        return _first(x for x in _computed(operation) if x.rank > limit)

    return when


def rank_below(limit):
    """A first input of fewer than `limit` axes."""

    def when(operation):
        return _first(x for x in operation.inputs[:1] if x is not None and x.rank < limit)

    return when


def wide_axes_above(limit):
    """A tensor with a size above 1 outside its `limit` innermost axes."""

    def when(operation):
        return _first(x for x in _computed(operation) if any(n > 1 for n in x.shape[:-limit]))

    return when


def type_outside(types):
    """A tensor that is computed and of none of these types."""

    def when(operation):
        return _first(x for x in _computed(operation) if x.type not in types)

    return when


def type_among(types):
    """A tensor that is computed and of one of these types."""

    def when(operation):
        return _first(x for x in _computed(operation) if x.type in types)

    return when


def open_sizes(operation):
    """A tensor whose size is open."""
    return _first(x for x in operation.tensors if x.dynamic)


def same_tensor_twice(operation):
    """One tensor at two places."""
    first, second = operation.input(0), operation.input(1)
    if first is None or second is None or first.index != second.index:
        return ""
    return first.label


def computed_parameters(operation):
    """Weights or a bias that are not constant."""
    return _first(x for x in operation.inputs[1:] if x is not None and not x.constant)


def computed_input(position):
    """An input at `position` that is neither constant nor widened from constants."""

    def when(operation):
        given = operation.input(position)
        if given is None or given.constant:
            return ""
        producer = operation.producers[position]
        return "" if producer is not None and widens_constants(producer) else given.label

    return when


def widens_constants(operation):
    """DEQUANTIZE or DENSIFY of constants, or the former of the latter."""
    first = operation.inputs[0]
    if operation.name == "DENSIFY":
        return first.constant
    if operation.name != "DEQUANTIZE" or first.type not in _WIDENED:
        return False
    producer = operation.producers[0]
    return first.constant or (producer is not None and producer.name == "DENSIFY")


def foreign_activation(operation):
    """An activation at its end that XNNPACK does not fuse."""
    return operation.activation if operation.activation in ("TANH", "SIGN_BIT") else ""


def count_outside(least, most, side):
    """A number of inputs, or of outputs, outside what XNNPACK takes."""

    def when(operation):
        count = len(getattr(operation, side))
        return "" if least <= count <= most else str(count)

    return when


def other_beta(operation):
    """A softmax of a temperature."""
    beta = operation.option("beta", 1.0)
    return "" if beta == 1 else f"{beta:g}"


def blocks_of_one(operation):
    """A change of blocks that changes nothing."""
    return "blocks of 1" if operation.option("blockSize", 0) == 1 else ""


def slope_outside(least, most):
    """A leaky ReLU whose slope is outside a range."""

    def when(operation):
        alpha = operation.option("alpha", 0.0)
        return "" if least <= alpha <= most else f"a slope of {alpha:g}"

    return when


def computed_slopes(operation):
    """Slopes that are neither constant nor constants in float16."""
    slopes, producer = operation.inputs[1], operation.producers[1]
    halves = producer is not None and producer.name == "DEQUANTIZE" and producer.inputs[0]
    widened = halves and halves.constant and halves.type == "FLOAT16"
    return "" if slopes.constant or widened else slopes.label


def wide_indices(operation):
    """A constant of indices or sizes in int64."""
    return _first(x for x in operation.inputs[1:] if x is not None and x.type == "INT64")


def unsigned_weights(operation):
    """Constant weights in uint8."""
    weights = operation.inputs[1]
    return f"{weights.label} is {weights}" if weights.constant and weights.type == "UINT8" else ""


def quantized_cast(operation):
    """A change of type of small integers that have a scale."""
    x, y = operation.inputs[0], operation.outputs[0]
    scaled = [t for t in (x, y) if t.type in ("INT8", "UINT8") and t.scale]
    return "" if y.type in (x.type, "BOOL") else _first(scaled)


def quantized_product(operation):
    """A product over an axis of small integers."""
    return type_among(("INT8", "UINT8"))(operation)


def computed_int8_ranks(operation):
    """Two computed integer tensors of different ranks."""
    ranks = sorted({x.rank for x in operation.variables if x.type in ("INT8", "UINT8")})
    return " and ".join(map(str, ranks)) if len(ranks) > 1 else ""


def computed_half(operation):
    """A float16 tensor that is computed."""
    return type_among(("FLOAT16",))(operation)


def fused_activation(operation):
    """An activation at its end."""
    return "" if operation.activation == "NONE" else operation.activation


def constant_beside_more(operation):
    """A concatenation with a constant, unless it is one block of zeros beside one tensor."""
    constants = [x for x in operation.inputs if x.constant]
    if not constants:
        return ""
    values = constants[0].values
    zeros = values is not None and not np.any(values)
    return "" if zeros and len(operation.inputs) == 2 else constants[0].label


def several_rows(operation):
    """A result with a size above 1 before its last axis."""
    shape = operation.outputs[0].shape
    return "×".join(map(str, shape)) if any(n > 1 for n in shape[:-1]) else ""


def above_elements(limit):
    """An input of more than `limit` elements."""

    def when(operation):
        count = operation.inputs[0].elements
        return f"{count:,} elements" if count > limit else ""

    return when


def alpha_of_more_axes(operation):
    """Slopes that differ along more than one axis."""
    shape = operation.inputs[1].shape
    return "×".join(map(str, shape)) if sum(n > 1 for n in shape) > 1 else ""


def inputs_above(limit):
    """More inputs than `limit`."""

    def when(operation):
        count = len(operation.inputs)
        return str(count) if count > limit else ""

    return when


def symmetric_mode(operation):
    """A mirror that repeats the border (mode 1)."""
    return "symmetric" if operation.option("mode") == 1 else ""


def float_quantize(operation):
    """A quantization of floating-point input."""
    return operation.inputs[0].type if operation.inputs[0].type.startswith("FLOAT") else ""


def _computed(operation):
    return [x for x in operation.tensors if not x.constant]


def _first(tensors):
    """The first tensor in words; an empty text if there is none."""
    return next((f"{x.label} is {x}" for x in tensors), "")
