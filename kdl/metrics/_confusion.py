"""Confusion matrices of pixels, for the metrics of segmentation."""

import math

import keras
from keras import ops

from kdl.ops._concrete import raise_if
from kdl.ops._shapes import shapes_match

_LARGEST = 2**30  # labels from here on are of no class
_WIDE = ("int64", "uint32", "uint64", "float16", "bfloat16", "float32", "float64")  # beside int32
_MOST_SUMS = 2**22  # at once, 16 MiB


def confusion(y_true, y_pred, valid, num_classes, weights=None, groups=None, num_groups=1):
    """Confusion matrices: pixels of class `i` taken for `j`, `(num_groups, classes, classes)`.

    Args:
        y_true: Labels, whole numbers.
        y_pred: Predicted labels, of the same shape.
        valid: Booleans: which pixels count.
        num_classes: Number of classes.
        weights: Weight of each pixel; None for 1.
        groups: Number of the group of each pixel, such as that of its image; None for one group.
        num_groups: Number of groups.

    Returns:
        Whole numbers, or float32 where there are weights.
    """
    cells = num_groups * num_classes**2
    cell = y_true * num_classes + y_pred
    if groups is not None:
        cell = cell + groups * num_classes**2
    # What is left out goes to a cell of its own.
    cell = ops.where(valid, cell, cells)
    cell, count = ops.reshape(cell, (-1,)), cells + 1
    if weights is None:
        # In whole numbers, as float32 stops counting by ones at 2²⁴; segment_sum is in float32.
        sums = ops.scatter_update(
            ops.zeros((count,), "int32"), cell[:, None], ops.ones_like(cell), reduction="add"
        )
    else:
        sums = sum_by_place(ops.reshape(weights, (-1,)), cell, count)
    return ops.reshape(sums[:cells], (num_groups, num_classes, num_classes))


def sum_by_place(values, places, count):
    """Sums of the float32 values of each place, `(count, …)`.

    In lanes that are added at the end: a sum of millions in one float32 loses what is small beside
    it.

    Args:
        values: Tensor `(N, …)`.
        places: Whole numbers `(N,)` below `count`.
        count: Number of places.
    """
    side = max(1, min(128, math.isqrt(_MOST_SUMS // count)))
    lanes = side**2
    lane = ops.arange(ops.shape(places)[0], dtype="int32") % lanes
    sums = ops.segment_sum(values, lane * count + places, num_segments=lanes * count)
    sums = ops.reshape(sums, (side, side, count, *values.shape[1:]))
    return ops.sum(ops.sum(sums, axis=0), axis=0)


def common_and_union(counts):
    """Pixels in both and in either of truth and prediction, for each class: `(…, classes)` both."""
    common = ops.diagonal(counts, axis1=-2, axis2=-1)
    return common, ops.sum(counts, -2) + ops.sum(counts, -1) - common


def labels_like(y_true, y_pred, data_format):
    """Labels as whole numbers of the shape of the predicted ones; as `whole_numbers`."""
    if len(y_true.shape) == len(y_pred.shape) + 1 and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    if not shapes_match(y_true.shape, y_pred.shape):
        raise ValueError(
            f"y_true must have one label for each pixel of y_pred, (batch, height, width); "
            f"received {tuple(y_true.shape)} beside {tuple(y_pred.shape)}, with "
            f"data_format={data_format!r}."
        )
    return whole_numbers(y_true)


def predicted_labels(y_pred, axis, num_classes):
    """The classes of the highest scores, as `whole_numbers`; scores of NaN are of no class.

    Args:
        y_pred: Scores.
        axis: Axis of the classes.
        num_classes: Number of classes.

    Raises:
        ValueError: If there is not a score for each class.
    """
    if y_pred.shape[axis] != num_classes:
        raise ValueError(
            f"y_pred must hold a score for each of {num_classes} classes along axis {axis}; "
            f"received shape {tuple(y_pred.shape)}."
        )
    return whole_numbers(ops.argmax(y_pred, axis=axis))[0], has_nan(y_pred)


def has_nan(scores):
    """A bool tensor for `marked`: some class of a diverged network would still be the highest."""
    return ops.any(ops.isnan(ops.cast(scores, "float32")))


def whole_numbers(labels):
    """Labels as int32; −1 for what is no whole number, or is too large to be a class.

    Returns:
        Tuple of the labels, and of what is wrong with them, for `kdl.ops._concrete.marked`.

    Raises:
        ValueError: If a known label is no whole number.
    """
    dtype, wrong = keras.backend.standardize_dtype(labels.dtype), None
    if dtype not in _WIDE:
        return ops.cast(labels, "int32"), None
    fits = labels < _LARGEST
    if not dtype.startswith("u"):
        fits = fits & (labels > -_LARGEST)
    if "float" in dtype:
        whole = labels == ops.floor(labels)
        wrong = raise_if(
            ops.logical_not(ops.all(whole)),
            "Labels must be whole numbers; others came, such as fractions or NaN.",
        )
        fits = fits & whole
    labels = ops.cast(ops.where(fits, labels, ops.zeros_like(labels)), "int32")
    return labels - ops.cast(ops.logical_not(fits), "int32"), wrong


def spread(sample_weight, labels):
    """Weights of images or pixels as those of all pixels."""
    weights = ops.cast(sample_weight, "float32")
    rank = len(labels.shape)
    if len(weights.shape) < rank:
        weights = ops.reshape(weights, (*ops.shape(weights), *[1] * (rank - len(weights.shape))))
    elif len(weights.shape) > rank:
        weights = ops.squeeze(weights, -1)
    return ops.broadcast_to(weights, ops.shape(labels))


def is_class(labels, num_classes, ignore_class):
    """Booleans: labels of classes that count."""
    valid = (labels >= 0) & (labels < num_classes)
    return valid if ignore_class is None else valid & (labels != ignore_class)
