"""Training data of an ensemble: checks, labels as numbers, a fingerprint."""

import hashlib
from dataclasses import dataclass

import numpy as np
from sklearn.utils.multiclass import check_classification_targets


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Training data: `x`, `y` (numbers of classes, or float rows), `weights` or None."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None

    def digest(self):
        """A fingerprint of the arrays."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.x, self.y, self.weights):
            if array is not None:
                digest.update(f"{array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()


def training_data(x, targets, sample_weight):
    """`TrainingData` of checked inputs and targets.

    Raises:
        ValueError: If the lengths differ, or the weights are out of range.
    """
    if len(targets) != len(x):
        raise ValueError(f"x has {len(x)} samples, y has {len(targets)}.")
    return TrainingData(x, targets, _check_weights(sample_weight, len(x)))


def check_inputs(x):
    """The inputs as one array of finite numbers, `(samples, …)`.

    Raises:
        ValueError: If they are something else.
    """
    arrays = isinstance(x, list | tuple) or hasattr(x, "__array__")
    # NumPy would make an array of a PyDataset's batches, or of a dict as one thing.
    try:
        x = np.asarray(x) if arrays else None
    except ValueError:  # rows of different lengths
        x = None
    if x is None:
        raise ValueError(
            "x must be one array (samples, …). Datasets, generators and several inputs can't be "
            "shared out among members: read them into an array first, such as "
            "np.concatenate([batch for batch, _ in dataset])."
        )
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(
            f"x must have the shape (samples, …), with one sample or more; received {x.shape}."
        )
    if x.dtype.kind not in "biuf":
        raise ValueError(f"x must be an array of numbers; received the dtype {x.dtype}.")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError("x must hold finite numbers; it has NaN or infinite ones.")
    return x


def check_regression_targets(y):
    """Targets of a regression as float32 rows, `(samples, outputs)`.

    Raises:
        ValueError: If they are no finite numbers, or have another rank.
    """
    try:
        y = np.asarray(y).astype("float32")
    except (TypeError, ValueError) as error:
        raise ValueError("y must hold numbers for task='regression'.") from error
    if y.ndim not in (1, 2) or not np.isfinite(y).all():
        raise ValueError(
            f"y must be finite numbers of the shape (samples,) or (samples, outputs); received the "
            f"shape {y.shape}."
        )
    return y.reshape(len(y), -1)


def encode_labels(y):
    """Sorted classes, and the number of the class of each sample.

    Raises:
        ValueError: If there is not one label a sample, labels are missing or of several kinds, or
            there is one class only.
    """
    y = np.asarray(y)
    if y.dtype.kind == "T":  # NumPy's StringDType, which files and scikit-learn do not know
        y = np.array(y.tolist())
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"y must have one label a sample, the shape (samples,); received {y.shape}. Labels in "
            f"one-hot form: pass y.argmax(-1)."
        )
    try:
        check_classification_targets(y)
        classes, numbers = np.unique(y, return_inverse=True)
    except TypeError as error:  # None, pandas.NA, or labels of several kinds
        kinds = sorted({type(label).__name__ for label in y.tolist()})
        raise ValueError(
            f"y must have labels of one kind, which can be sorted, and none may be missing; it has "
            f"{', '.join(kinds)}."
        ) from error
    if len(classes) < 2:
        raise ValueError(f"y must have two classes or more; it has {classes.tolist()}.")
    return classes, numbers.astype("int32")


def encode_validation_data(data, classes=None):
    """`validation_data` for a member's `fit`, with labels as numbers.

    Args:
        data: `(x, y)` or `(x, y, weights)`.
        classes: Sorted classes; None (default) for a regression.

    Raises:
        ValueError: If it is something else, or has labels that are no classes.
    """
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ValueError("validation_data in fit_arguments must be (x, y) or (x, y, weights).")
    x, y, *weights = data
    if classes is None:
        return (x, check_regression_targets(y), *weights)
    y = np.asarray(y)
    numbers = np.searchsorted(classes, y).clip(0, len(classes) - 1)
    if not np.array_equal(classes[numbers], y):
        raise ValueError("validation_data has labels that y does not have.")
    return (x, numbers, *weights)


def check_class_weight(weights, classes):
    """Raise ValueError unless weights are by the numbers of the classes, 0 … `classes` − 1."""
    if isinstance(weights, dict) and not set(weights) <= set(range(classes)):
        raise ValueError(
            f"class_weight in fit_arguments must be by the numbers of the classes in sorted order, "
            f"0 to {classes - 1}; it has {', '.join(map(repr, weights))}."
        )


def _check_weights(weights, count):
    if weights is None:
        return None
    try:
        weights = np.asarray(weights, "float64")
    except (TypeError, ValueError) as error:  # a dict, words
        raise ValueError(
            f"sample_weight must be {count} numbers, one a sample; received {weights!r}."
        ) from error
    if weights.shape != (count,) or not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(
            f"sample_weight must be {count} finite numbers that are not negative; received the "
            f"shape {weights.shape}."
        )
    if weights.sum() == 0:
        raise ValueError("sample_weight must have a positive sum; all weights are 0.")
    return weights
