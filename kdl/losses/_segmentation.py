"""Class maps of segmentation losses: labels and scores as one set of pixels a class.

What is wrong with them where nothing can be raised is handed on, for `kdl.ops._concrete.marked`.
"""

import numbers

from keras import ops

from kdl.losses._masked_loss import spread_over
from kdl.ops._concrete import marked, raise_if
from kdl.ops._labels import one_hot
from kdl.ops._shapes import shapes_match

# Above what rounding in half precision adds to a probability.
_SLACK = 1e-2


def class_maps(y_true, y_pred, from_logits, multi_label, ignore_class, axis, mask=None):
    """Probabilities and truth, float32 maps of the shape of `y_pred`, 0 where they don't count.

    Args:
        y_true: Labels or maps, see `truth_maps`.
        y_pred: Probabilities or logits.
        from_logits: Whether `y_pred` holds logits.
        multi_label: Whether a pixel may be of several classes.
        ignore_class: Label, or entry of a map, that does not count; or None.
        axis: Axis of the classes.
        mask: Booleans, which pixels count; or None.

    Returns:
        Tuple of the two, and of a list of what is wrong with what came.
    """
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    truth, valid, wrong = truth_maps(y_true, y_pred, multi_label, ignore_class, axis, mask)
    y_pred = ops.cast(y_pred, "float32")
    if from_logits:
        probabilities, outside = _probabilities(y_pred, multi_label, axis), None
    else:
        probabilities, outside = y_pred, _outside_of_probabilities(y_pred)
    if ignore_class is not None or mask is not None:
        probabilities = ops.where(valid, probabilities, 0.0)
    return probabilities, truth, [wrong, outside]


def truth_maps(y_true, y_pred, multi_label, ignore_class, axis, mask=None):
    """Truth as float32 maps of the shape of `y_pred`; booleans: what counts; and what is wrong.

    Args:
        y_true: Labels of the shape of `y_pred` without `axis` or with one entry there, or a map for
            each class, of the shape of `y_pred`.
        y_pred: Tensor with the classes at `axis`.
        multi_label: Whether a pixel may be of several classes, so that labels are an error.
        ignore_class: Label, or entry of a map, that does not count, where truth is 0; or None.
        axis: Axis of the classes.
        mask: Booleans, which pixels count; or None.
    """
    _check_class_axis(axis, y_pred)
    y_true, sparse = _with_class_axis(y_true, y_pred, axis)
    channels = y_pred.shape[axis]
    if sparse and channels > 1 and multi_label:
        raise ValueError(
            f"multi_label=True needs a map for each class in y_true, of the shape of y_pred, "
            f"{tuple(y_pred.shape)}; received labels, {tuple(y_true.shape)}."
        )
    sparse = sparse and channels > 1  # one channel: its map and its labels are the same
    y_true = ops.cast(y_true, "float32")
    valid = ops.ones_like(y_true, "bool")
    if ignore_class is not None:
        valid = ops.not_equal(y_true, ignore_class)
    if mask is not None:
        valid = ops.logical_and(valid, spread_over(mask, y_true, axis))
    wrong = _outside_of_range(y_true, valid, channels - 1 if sparse else 1, ignore_class)
    if sparse:
        y_true = one_hot(ops.squeeze(y_true, axis), channels, "float32", axis)
    if ignore_class is not None or mask is not None:
        y_true = ops.where(valid, y_true, 0.0)
    return y_true, valid, wrong


def mean_over_classes(losses, present):
    """Mean of `losses` `(rows, classes)` over the classes, `(rows,)`.

    Args:
        losses: Loss of each class.
        present: Booleans of the same shape, which classes count; None for all.
    """
    if present is None:
        return ops.mean(losses, -1)
    present = ops.cast(present, losses.dtype)
    return ops.sum(losses * present, -1) / ops.maximum(ops.sum(present, -1), 1.0)


def select_classes(maps, classes, axis):
    """The chosen classes of each map."""
    if isinstance(classes, str):
        return maps
    channels = maps[0].shape[axis]
    if max(classes) >= channels:
        raise ValueError(
            f"classes={classes} must be below the number of classes in y_pred, {channels}."
        )
    return [ops.take(values, ops.convert_to_tensor(classes, "int32"), axis) for values in maps]


def loss_of_each_sample(losses, y_pred, wrong):
    """One loss a sample: those there are, or that of the batch for all; NaN if they are wrong."""
    return ops.broadcast_to(marked(losses, *wrong), (ops.shape(y_pred)[0],))


def check_zeros_and_ones(y_true):
    """Raise ValueError if maps with concrete values hold others than 0 and 1; as `raise_if`."""
    return raise_if(
        ops.any(ops.logical_and(y_true != 0, y_true != 1)),
        "y_true must hold labels, or maps of zeros and ones; values between came.",
    )


def checked_classes(classes):
    """`classes` for the config.

    Raises:
        ValueError: If it is neither `"all"`, `"present"` nor a list of distinct numbers from 0.
    """
    if isinstance(classes, str):
        if classes in ("all", "present"):
            return classes
    elif isinstance(classes, list | tuple):
        classes = list(classes)
        whole = all(isinstance(number, numbers.Integral) and number >= 0 for number in classes)
        if classes and whole and len(set(classes)) == len(classes):
            return [int(number) for number in classes]
    raise ValueError(
        f'classes must be "all", "present" or a list of distinct class numbers; received '
        f"{classes!r}."
    )


def _check_class_axis(axis, y_pred):
    rank = len(y_pred.shape)
    if rank < 2 or not -rank <= axis < rank or axis % rank == 0:
        raise ValueError(
            f"y_pred must have a batch axis and, at axis={axis}, the classes; received the shape "
            f"{tuple(y_pred.shape)}."
        )
    if y_pred.shape[axis] is None:
        raise ValueError(
            f"y_pred must have a known number of classes at axis={axis}; received the shape "
            f"{tuple(y_pred.shape)}."
        )


def _outside_of_range(y_true, valid, largest, ignore_class):
    within = ops.logical_and(y_true >= 0, y_true <= largest)
    return raise_if(
        ops.any(ops.logical_and(valid, ops.logical_not(within))),
        f"y_true must lie in 0 … {largest}, or equal ignore_class={ignore_class}; other values "
        f"came.",
    )


def _with_class_axis(y_true, y_pred, axis):
    """`y_true` of the rank of `y_pred`, and whether it holds labels."""
    shape, given = tuple(y_pred.shape), tuple(y_true.shape)
    axis %= len(shape)
    if len(given) == len(shape) - 1:
        y_true = ops.expand_dims(y_true, axis)
    labels = (*shape[:axis], 1, *shape[axis + 1 :])
    for sparse, expected in ((True, labels), (False, shape)):
        if shapes_match(y_true.shape, expected):
            return y_true, sparse
    raise ValueError(
        f"y_true must hold labels, {(*shape[:axis], *shape[axis + 1 :])}, or a map for each "
        f"class, {shape}, for y_pred of the shape {shape} with axis={axis}; received {given}."
    )


def _probabilities(logits, multi_label, axis):
    if multi_label or logits.shape[axis] == 1:
        return ops.sigmoid(logits)
    return ops.softmax(logits, axis=axis)


def _outside_of_probabilities(y_pred):
    return raise_if(
        ops.any(ops.logical_or(y_pred < -_SLACK, y_pred > 1 + _SLACK)),
        "y_pred must hold probabilities in 0 … 1; others came. Pass from_logits=True for logits.",
    )
