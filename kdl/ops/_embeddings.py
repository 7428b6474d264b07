"""Checks of labels, embeddings and margins, for losses and metrics of embeddings."""

import numbers

import keras
import numpy as np
from keras import ops

from kdl.ops._concrete import raise_if
from kdl.ops._shapes import shapes_match

# The first whole number whose successor the type does not have.
_LARGEST_LABELS = {"bfloat16": 2**8, "float16": 2**11, "float32": 2**24, "float64": 2**53}


def checked_labels(labels, embeddings):
    """Labels as integers of the shape `(B,)`.

    Args:
        labels: Tensor or array `(B,)` or `(B, 1)`, of integers in any type.
        embeddings: Tensor `(B, D)`.

    Returns:
        Tuple of the labels, and of what is wrong with them, for `kdl.ops._concrete.marked`.

    Raises:
        ValueError: If a shape is another, or labels with known values are no integers.
    """
    labels = ops.convert_to_tensor(_numbered(labels))
    shape = tuple(labels.shape)
    if len(embeddings.shape) != 2:
        raise ValueError(
            f"embeddings must have the shape (batch, dimension); received "
            f"{tuple(embeddings.shape)}."
        )
    if shape[1:] not in ((), (1,)) or not shapes_match(shape[:1], embeddings.shape[:1]):
        raise ValueError(
            f"labels must have the shape (batch,) or (batch, 1), an integer for each row of the "
            f"embeddings {tuple(embeddings.shape)}; received {shape}. Of one-hot labels take the "
            f"argmax."
        )
    labels = ops.reshape(labels, (-1,))
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if dtype == "bool":
        return ops.cast(labels, "int32"), None
    limit = _LARGEST_LABELS.get(dtype)
    if limit is None:
        return labels, None
    whole = ops.logical_and(ops.equal(labels, ops.floor(labels)), ops.abs(labels) < limit)
    wrong = raise_if(
        ops.logical_not(ops.all(whole)),
        f"labels must be integers, below {limit} where they come as floats of this type, as Keras "
        f"hands them to a loss; received {dtype} numbers that are not.",
    )
    return ops.cast(labels, "int32"), wrong


def _numbered(labels):
    """Labels of NumPy that int32 does not hold, which JAX would cut, by their order."""
    if not isinstance(labels, np.ndarray | list | tuple):
        return labels
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or not labels.size:
        return labels
    if np.abs(labels.astype("float64")).max() <= np.iinfo("int32").max:
        return labels
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype("int32")


def is_margin(margin):
    """Tell whether a margin is a finite number that is not negative.

    Args:
        margin: The value.
    """
    number = isinstance(margin, numbers.Real) and not isinstance(margin, bool)
    return number and 0 <= margin < float("inf")


def check_embeddings(embeddings):
    """Raise ValueError if embeddings with known values hold NaN, or squares beyond float32."""
    raise_if(
        ops.logical_not(ops.isfinite(ops.sum(ops.square(embeddings)))),
        "embeddings must be finite, and their squares within float32; received NaN, infinite or "
        "too large numbers. Lower the learning rate, or look for the layer that makes them.",
    )
