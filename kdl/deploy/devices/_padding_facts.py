"""Facts about padding, for the rules: each gives a text of what it found, or nothing."""

import numpy as np

_RELUS = ("RELU", "RELU6")

# A maximum never takes numbers below it.
_LEAST = -1e30


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
    pad, image = operation.producers[0], operation.inputs[0]
    if pad is None or pad.name not in ("PAD", "PADV2") or pad.inputs[1].values is None:
        return None
    if image.type != "FLOAT32" or image.rank != 4 or image.consumers > 1:
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
    """Tell if the first input of an operation has no negative number for sure."""
    producer = operation.producers[0]
    while producer is not None:
        if producer.activation in _RELUS or producer.name in (*_RELUS, "LOGISTIC", "SOFTMAX"):
            return True
        if producer.name not in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE"):
            return False
        producer = producer.producers[0]
    return False
