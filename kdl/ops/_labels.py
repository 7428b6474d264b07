"""Class labels, sparse or dense, of losses and metrics."""

import keras
import numpy as np
from keras import ops

from kdl.ops._concrete import concrete_values, raise_if
from kdl.ops._shapes import along_axis, shapes_match

_LARGEST_SHARE = 1 + 1e-5  # mixed labels may round up


def as_float(tensor):
    """A tensor of at least float32."""
    tensor = ops.convert_to_tensor(tensor)
    dtype = keras.backend.result_type(keras.backend.standardize_dtype(tensor.dtype), "float32")
    return ops.cast(tensor, dtype)


def sparse_labels(y_true, y_pred, axis=-1):
    """Labels without the axis of the classes, or None if `y_true` is dense.

    Args:
        y_true: Tensor of the shape of `y_pred`; or without its axis `axis`, or with 1 there.
        y_pred: Tensor with one score a class at `axis`.
        axis: Axis of the classes.

    Raises:
        ValueError: If `y_true` has neither shape.
    """
    axis = axis % len(y_pred.shape)
    if shapes_match(y_true.shape, y_pred.shape):
        return None
    if keras.backend.standardize_dtype(y_true.dtype) == "bool":
        y_true = ops.cast(y_true, "int32")
    without = (*y_pred.shape[:axis], *y_pred.shape[axis + 1 :])
    if shapes_match(y_true.shape, without):
        return y_true
    if shapes_match(y_true.shape, (*y_pred.shape[:axis], 1, *y_pred.shape[axis + 1 :])):
        return ops.squeeze(y_true, axis)
    raise ValueError(
        f"y_true must be one label for each row of y_pred, of shape {without}, or one number for "
        f"each score, of shape {tuple(y_pred.shape)}; received shape {tuple(y_true.shape)}."
    )


def one_hot(labels, classes, dtype, axis=-1):
    """1 at the class of each label, else 0; only 0 for labels that are no class."""
    numbers = np.arange(classes).reshape(along_axis(axis, len(labels.shape) + 1, classes))
    labels = ops.expand_dims(wide_labels(labels), axis)
    return ops.cast(labels == ops.cast(numbers, labels.dtype), dtype)


def wide_labels(labels):
    """Labels in a type that holds every class number, also negative ones: 256 is 0 in uint8."""
    narrow = keras.backend.standardize_dtype(labels.dtype) in ("int8", "uint8", "int16", "bool")
    return ops.cast(labels, "int32") if narrow else labels


def check_labels(labels, classes, others=()):
    """Raise ValueError for a known label that is neither of a class nor one of `others`.

    Args:
        labels: Tensor of them.
        classes: Their number, or None where it is not known.
        others: Further labels.

    Returns:
        Where labels have no concrete values, whether one of them is wrong, for
        `kdl.ops._concrete.marked`; else None.
    """
    values = concrete_values(labels)
    if values is None:
        return ops.any(_wrong(_compared(labels), classes, others))
    wrong = _wrong(values, classes, others)
    if wrong.any():
        to = "" if classes is None else f" to {classes - 1}"
        more = "".join(f", or {other}" for other in others)
        raise ValueError(
            f"y_true must be whole numbers from 0{to}{more}; received {values[wrong][0]}."
        )
    return None


def _wrong(labels, classes, others):
    """Booleans: labels, of NumPy or a tensor, that are neither of a class nor of `others`."""
    right = (labels >= 0) & (labels % 1 == 0)
    if classes is not None:
        right = right & (labels < classes)
    for other in others:
        right = right | (labels == other)
    return ~right


def _compared(labels):
    """Labels in a type that holds every number they are compared with."""
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if "float" in dtype or dtype == "int64":
        return labels
    return ops.cast(labels, "int32")


def check_shares(y_true):
    """Raise ValueError for a known dense label that is not between 0 and 1.

    Returns:
        As `check_labels`.
    """
    values = concrete_values(y_true)
    if values is None:
        y_true = as_float(y_true)
        return ops.any(~((y_true >= 0) & (y_true <= _LARGEST_SHARE)))
    if not values.size:
        return None
    least, most = values.min(), values.max()
    if not (least >= 0 and most <= _LARGEST_SHARE):
        raise ValueError(
            f"Dense y_true must be between 0 and 1; received values from {least} to {most}."
        )
    return None


def mixed_labels(y_true, y_pred):
    """The labels a, b and the share λ of a, of mixed samples.

    Args:
        y_true: Tensor `(…, 3)` of a, b and λ.
        y_pred: Tensor `(…, K)` of scores.

    Returns:
        Tuple of the three, and of a list of what is wrong, for `kdl.ops._concrete.marked`.

    Raises:
        ValueError: If shapes do not fit or a known value is out of range.
    """
    expected = (*y_pred.shape[:-1], 3)
    if not shapes_match(y_true.shape, expected):
        raise ValueError(
            f"y_true must hold two labels and the share of the first, of shape {expected}; "
            f"received shape {tuple(y_true.shape)}. For mixed labels of one share a class use "
            f"cross-entropy with dense labels."
        )
    first, second, share = (y_true[..., i] for i in range(3))
    message = "λ, y_true[..., 2], must be between 0 and 1; received other values."
    wrong = [raise_if(ops.any(~((share >= 0) & (share <= 1))), message)]
    wrong += [check_labels(labels, y_pred.shape[-1]) for labels in (first, second)]
    return first, second, share, wrong


def log_of(p):
    """Natural logarithm of probabilities, finite at 0."""
    return ops.log(ops.clip(p, keras.backend.epsilon(), 1.0))


def cross_entropy(targets, log_p, axis=-1):
    """`−Σ q ln p`, where a class with `q = 0` adds 0 even if it cannot be: its `ln p` is −∞.

    Args:
        targets: Shares `q` of the classes.
        log_p: Logarithms of probabilities, of the same shape.
        axis: Axis of the classes.
    """
    return -ops.sum(targets * ops.where(targets > 0, log_p, 0.0), axis=axis)
