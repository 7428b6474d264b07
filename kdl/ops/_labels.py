"""Labels and predictions, as all losses and metrics of classes take them."""

import keras
import numpy as np
from keras import ops

from kdl.ops._known import known_values


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
    if _same(y_true.shape, y_pred.shape):
        return None
    if keras.backend.standardize_dtype(y_true.dtype) == "bool":
        y_true = ops.cast(y_true, "int32")
    without = (*y_pred.shape[:axis], *y_pred.shape[axis + 1 :])
    if _same(y_true.shape, without):
        return y_true
    if _same(y_true.shape, (*y_pred.shape[:axis], 1, *y_pred.shape[axis + 1 :])):
        return ops.squeeze(y_true, axis)
    raise ValueError(
        f"y_true must be one label for each row of y_pred, of shape {without}, or one number for "
        f"each score, of shape {tuple(y_pred.shape)}; received shape {tuple(y_true.shape)}."
    )


def one_hot(labels, classes, dtype, axis=-1):
    """1 at the class of each label, else 0; only 0 for labels that are no class."""
    numbers = np.arange(classes)
    rank = len(labels.shape) + 1
    shape = [1] * rank
    shape[axis] = classes
    labels = ops.expand_dims(labels, axis)
    return ops.cast(labels == ops.cast(numbers.reshape(shape), labels.dtype), dtype)


def check_labels(labels, classes, others=()):
    """Raises ValueError for a known label that is neither of a class nor one of `others`.

    Args:
        labels: Tensor of them.
        classes: Their number, or None where it is not known.
        others: Further labels.
    """
    values = known_values(labels)
    if values is None:
        return
    most = np.inf if classes is None else classes
    wrong = ~(((values >= 0) & (values < most) & (values % 1 == 0)) | np.isin(values, others))
    if wrong.any():
        to = "" if classes is None else f" to {classes - 1}"
        more = "".join(f", or {other}" for other in others)
        raise ValueError(
            f"y_true must be whole numbers from 0{to}{more}; received {values[wrong][0]}."
        )


def check_shares(y_true):
    """Raises ValueError for a known dense label that is not between 0 and 1."""
    values = known_values(y_true)
    if values is None or not values.size:
        return
    least, most = values.min(), values.max()
    if not (least >= 0 and most <= 1 + 1e-5):  # mixed labels may round up
        raise ValueError(
            f"Dense y_true must be between 0 and 1; received values from {least} to {most}."
        )


def mixed_labels(y_true, y_pred):
    """The labels a, b and the share λ of a, of mixed samples.

    Args:
        y_true: Tensor `(…, 3)` of a, b and λ.
        y_pred: Tensor `(…, K)` of scores.

    Raises:
        ValueError: If shapes do not fit or a known value is out of range.
    """
    expected = (*y_pred.shape[:-1], 3)
    if not _same(y_true.shape, expected):
        raise ValueError(
            f"y_true must hold two labels and the share of the first, of shape {expected}; "
            f"received shape {tuple(y_true.shape)}. For mixed labels of one share a class use "
            f"cross-entropy with dense labels."
        )
    first, second, share = (y_true[..., i] for i in range(3))
    values = known_values(share)
    if values is not None and not ((values >= 0) & (values <= 1)).all():
        raise ValueError("λ, y_true[..., 2], must be between 0 and 1; received other values.")
    for labels in (first, second):
        check_labels(labels, y_pred.shape[-1])
    return first, second, share


def log_of(p):
    """Natural logarithm of probabilities, finite at 0."""
    return ops.log(ops.clip(p, keras.backend.epsilon(), 1.0))


def _same(shape, other):
    pairs = zip(shape, other, strict=False)
    return len(shape) == len(other) and all(a == b or None in (a, b) for a, b in pairs)
