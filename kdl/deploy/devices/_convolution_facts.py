"""Facts about convolutions, for the rules: each gives a text of what it found, or nothing."""


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


def uneven_dilation(operation):
    """Dilations that differ."""
    height, width = (operation.option(f"dilation{axis}Factor", 1) for axis in "HW")
    return "" if height == width else f"{height} and {width}"


def special_weights(operation):
    """Weights of another than the default format."""
    kind = operation.option("weightsFormat", 0)
    return f"format {kind}" if kind else ""
