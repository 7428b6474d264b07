"""Predicates of operations for the rules: each gives a text of what it found, or nothing."""

import numpy as np

_RELUS = ("RELU", "RELU6")

# Constants of these types are widened before the first run.
_WIDENED = ("FLOAT16", "INT8")

# A maximum never takes numbers below it.
_LEAST = -1e30


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
    """What the compiler for the Edge TPU puts in place of the operations that it maps."""
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


def groups(operation):
    """Number of groups of a convolution; 1 unless its kernel is narrower than its input."""
    image, kernel = operation.input(0), operation.input(1)
    if operation.name != "CONV_2D" or kernel is None or kernel.rank != 4 or not kernel.shape[3]:
        return 1
    return max(image.shape[-1] // kernel.shape[3], 1)


def grouped(operation):
    """A convolution in groups."""
    return f"{groups(operation)} groups" if groups(operation) > 1 else ""


def odd_groups(operation):
    """A convolution in groups of which 4 does not divide the channels."""
    parts = groups(operation)
    if parts == 1:
        return ""
    filters, *_, width = operation.input(1).shape
    if width % 4 == 0 and filters // parts % 4 == 0:
        return ""
    return f"{parts} groups of {width} input and {filters // parts} output channels"


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
        maker = operation.makers[position]
        return "" if maker is not None and widens_constants(maker) else given.label

    return when


def widens_constants(operation):
    """DEQUANTIZE or DENSIFY of constants, or the former of the latter."""
    first = operation.inputs[0]
    if operation.name == "DENSIFY":
        return first.constant
    if operation.name != "DEQUANTIZE" or first.type not in _WIDENED:
        return False
    maker = operation.makers[0]
    return first.constant or (maker is not None and maker.name == "DENSIFY")


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


def fewer_axes(operation):
    """A slice that names only the first axes."""
    begin, rank = operation.inputs[1], operation.inputs[0].rank
    return f"{begin.elements} of {rank} axes" if begin.elements < rank else ""


def slope_outside(least, most):
    """A leaky ReLU whose slope is outside a range."""

    def when(operation):
        alpha = operation.option("alpha", 0.0)
        return "" if least <= alpha <= most else f"a slope of {alpha:g}"

    return when


def computed_slopes(operation):
    """Slopes that are neither constant nor constants in float16."""
    slopes, maker = operation.inputs[1], operation.makers[1]
    halves = maker is not None and maker.name == "DEQUANTIZE" and maker.inputs[0]
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


def negative_axis(operation):
    """An axis, given by its second input, that is counted from the end."""
    values = operation.inputs[1].values
    return "" if values is None or np.all(values >= 0) else str(int(np.min(values)))


def only_part(operation):
    """A split into one part."""
    return "one part" if len(operation.outputs) == 1 else ""


def computed_int8_ranks(operation):
    """Two computed integer tensors of different ranks."""
    ranks = sorted({x.rank for x in operation.variables if x.type in ("INT8", "UINT8")})
    return " and ".join(map(str, ranks)) if len(ranks) > 1 else ""


def computed_half(operation):
    """A float16 tensor that is computed."""
    return type_among(("FLOAT16",))(operation)


def over_batch(operation):
    """An operation along the first axis, its axes given by its second input."""
    axes = _axes(operation)
    if axes is None:
        return "axes that are computed"
    return "the first axis" if 0 in axes and operation.inputs[0].rank > 1 else ""


def over_odd_channels(operation):
    """A reduction over channels whose number 4 does not divide."""
    axes, x = _axes(operation), operation.inputs[0]
    if axes is None or x.rank - 1 not in axes or x.shape[-1] % 4 == 0:
        return ""
    return f"{x.shape[-1]} channels"


def splits_batch(operation):
    """A split along the first axis."""
    position = 2 if operation.name == "SPLIT_V" else 0
    axes = _axes(operation, position, rank=operation.outputs[0].rank)
    return "the first axis" if axes is None or 0 in axes else ""


def parts_of_one_split(operation):
    """Several computed float inputs, all of which are parts of one split."""
    pairs = zip(operation.inputs, operation.makers, strict=True)
    makers = [maker for x, maker in pairs if x is not None and not x.constant]
    if len(makers) < 2 or operation.outputs[0].type != "FLOAT32":
        return ""
    first = makers[0]
    one = first is not None and all(maker is first for maker in makers)
    parts = {x.index for x in operation.variables}
    if not one or not first.name.startswith("SPLIT") or len(parts) < 2:
        return ""
    return f"{len(parts)} parts of #{first.index} {first.name}"


def packs_batch(operation):
    """A pack along the first axis."""
    axis = operation.option("axis", 0) % max(operation.outputs[0].rank, 1)
    return "the first axis" if axis == 0 and operation.outputs[0].rank > 1 else ""


def pads_batch(operation):
    """A pad of the first axis."""
    amounts = operation.inputs[1].values
    if amounts is None:
        return "amounts that are computed"
    return "the first axis" if operation.inputs[0].rank > 1 and np.any(amounts[0]) else ""


def pads_one_image(operation):
    """A pad of the first axis where that is one image."""
    return pads_batch(operation) if operation.inputs[0].shape[0] == 1 else ""


def pads_rows_of_several(operation):
    """A pad of a tensor of three axes of which the first is above 1."""
    shape = operation.inputs[0].shape
    return "×".join(map(str, shape)) if len(shape) == 3 and shape[0] > 1 else ""


def averages_padding(operation):
    """An average over what a pad has put around the image."""
    pad = _pad_around(operation)
    return "" if pad is None else f"#{pad.index} {pad.name}"


def pools_padding(operation):
    """A maximum over what a pad has put around the image, where it may be the maximum."""
    pad = _pad_around(operation)
    if pad is None or _filling(pad) < _LEAST or (_filling(pad) <= 0 and _never_negative(pad)):
        return ""
    return f"#{pad.index} {pad.name}"


def convolves_padding(operation):
    """A convolution over what a pad has put around the image, where that is not zero."""
    pad = _pad_around(operation)
    return f"#{pad.index} {pad.name}" if pad and _filling(pad) else ""


def _pad_around(operation):
    """The pad that a GPU computes in one with its only reader; None if there is none."""
    pad, image = operation.makers[0], operation.inputs[0]
    if pad is None or pad.name not in ("PAD", "PADV2") or pad.inputs[1].values is None:
        return None
    if image.type != "FLOAT32" or image.rank != 4 or image.readers > 1:
        return None
    images, rows, columns, channels = np.any(pad.inputs[1].values, axis=1)
    return pad if (rows or columns) and not (images or channels) else None


def _filling(pad):
    """The number that a pad puts around; NaN if it is computed."""
    if pad.name == "PAD":
        return 0.0
    values = pad.inputs[2].values
    return float("nan") if values is None else float(np.ravel(values)[0])


def _never_negative(operation):
    """Whether the first input of an operation has no negative number for sure."""
    maker = operation.makers[0]
    while maker is not None:
        if maker.activation in _RELUS or maker.name in (*_RELUS, "LOGISTIC", "SOFTMAX"):
            return True
        if maker.name not in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE"):
            return False
        maker = maker.makers[0]
    return False


def grouped_pointwise(operation):
    """An int8 1×1 convolution in groups."""
    return grouped(operation) if _pointwise_integers(operation) else ""


def _pointwise_integers(operation):
    kernel = operation.input(1)
    pointwise = kernel is not None and kernel.shape[1:3] == (1, 1)
    return pointwise and operation.inputs[0].type in ("INT8", "UINT8")


def strided_pointwise(operation):
    """An int8 1×1 convolution that steps over pixels."""
    steps = [operation.option(f"stride{axis}", 1) for axis in "HW"]
    if max(steps) == 1 or not _pointwise_integers(operation):
        return ""
    several = any(n > 1 for n in operation.outputs[0].shape[1:3])
    return f"strides of {max(steps)}" if several else ""


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


def uneven_dilation(operation):
    """Dilations that differ."""
    height, width = (operation.option(f"dilation{axis}Factor", 1) for axis in "HW")
    return "" if height == width else f"{height} and {width}"


def special_weights(operation):
    """Weights of another than the default format."""
    kind = operation.option("weightsFormat", 0)
    return f"format {kind}" if kind else ""


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


def moves_sizes(operation):
    """A reshape that changes more than the axes of size 1."""
    before, after = operation.inputs[0].shape, operation.outputs[0].shape
    if [n for n in before if n > 1] == [n for n in after if n > 1]:
        return ""
    return f"{'×'.join(map(str, before))} to {'×'.join(map(str, after))}"


def squeezes_inner(operation):
    """A squeeze of an axis that comes after one above 1."""
    before, after = operation.inputs[0].shape, operation.outputs[0].shape
    kept = before[len(before) - len(after) :]
    return "" if kept == after else "×".join(map(str, before))


def strided_or_masked(operation):
    """A slice that takes steps, or adds or elides axes."""
    steps = operation.inputs[3].values if len(operation.inputs) > 3 else None
    if steps is None or np.any(steps != 1):
        return "steps other than 1"
    masked = operation.option("ellipsisMask") or operation.option("newAxisMask")
    return "a mask of ellipsis or new axis" if masked else ""


def shrinks(operation):
    """A slice that takes away axes."""
    return "an axis" if operation.option("shrinkAxisMask") else ""


def backward_steps(operation):
    """A slice that goes backward."""
    steps = operation.inputs[3].values if len(operation.inputs) > 3 else None
    return "" if steps is None or np.all(steps > 0) else ", ".join(map(str, steps))


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


def _axes(operation, position=1, rank=None):
    """The axes that a constant input names, counted from the front; None if it is computed."""
    given = operation.input(position)
    if given is None or given.values is None:
        return None
    rank = operation.inputs[0].rank if rank is None else rank
    return {int(axis) % rank for axis in np.ravel(given.values)} if rank else set()


def _computed(operation):
    return [x for x in operation.tensors if not x.constant]


def _first(tensors):
    """The first tensor in words; an empty text if there is none."""
    return next((f"{x.label} is {x}" for x in tensors), "")
