"""Labels of classes as integers: of one-hot rows, columns or numbers."""

import math

import numpy as np


def class_numbers(labels, argument="data"):
    """Integer labels `(samples,)` of integers or one-hot rows; label maps as they are.

    Args:
        labels: Array `(samples,)`, `(samples, 1)` or `(samples, classes)`; label maps
            `(samples, height, width)`; or None.
        argument: What messages call the data.

    Raises:
        ValueError: If labels are none of these.
    """
    if labels is None or labels.ndim == 3 or (labels.ndim == 4 and labels.shape[-1] == 1):
        return labels
    if labels.ndim == 2 and labels.shape[1] > 1:
        _check_one_hot(labels, argument)
        return labels.argmax(-1)
    if math.prod(labels.shape[1:]) != 1:
        raise ValueError(
            f"{argument}: Received {len(labels)} inputs but {labels.size} labels; expected one "
            f"integer or one-hot row for each."
        )
    return labels.reshape(-1)


def _check_one_hot(rows, argument):
    """Raises ValueError unless each row is a distribution over classes, as one-hot rows are."""
    rows = np.asarray(rows, "float64")
    wrong = (rows < 0).any(-1) | ~(np.abs(rows.sum(-1) - 1) < 1e-3)
    if wrong.any():
        raise ValueError(
            f"{argument}: rows of labels must be one-hot, or shares of classes that add up to 1; "
            f"received {rows[wrong.argmax()].tolist()}. Pass inputs alone for a model of several "
            f"labels or of numbers."
        )
