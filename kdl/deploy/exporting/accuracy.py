"""Accuracy of a model and of its file on labelled data."""

import numpy as np

from kdl.data._arrays import whole_numbers
from kdl.metrics import MeanIoU

# In label maps, that of pixels without a class.
_NO_CLASS = 255


def measure_accuracy(path, outputs, expected, actual, labels, classes=None):
    """Accuracies of both sides, as the keyword arguments of `Verification`.

    One label for a sample belongs to the one output of class scores, or of one integer for a
    sample; a label map to the one output that gives classes at its pixels. Where no output or
    several could be meant, nothing is measured. Labels outside of the classes are left out; nor is
    anything measured if all are.

    Args:
        path: The file, for messages.
        outputs: List of `OutputComparison`.
        expected: The model's outputs.
        actual: The file's.
        labels: Integers `(samples,)`, label maps `(samples, height, width)`, or None.
        classes: Number of classes that an output of integers tells apart, if it is known. Else all
            labels count that are not negative, but for 255 in label maps, if nothing else is as
            large.

    Raises:
        ValueError: If label maps fit no output, or hold fractions.
    """
    if labels is None:
        return {}
    labels = labels[..., 0] if labels.ndim == 4 and labels.shape[-1] == 1 else labels
    fitting = [i for i, output in enumerate(outputs) if _fits(output, expected[i], labels)]
    if labels.ndim > 1 and not fitting:
        shapes = {output.name: output.shape for output in outputs}
        raise ValueError(
            f"Label maps of shape {labels.shape[1:]} fit no output of {path}: {shapes}. Resize "
            f"them to the size of the output, without interpolation."
        )
    if len(fitting) != 1:
        return {}
    [place] = fitting
    labels = whole_numbers(labels, "labels", "a class") if labels.ndim > 1 else labels
    sides = {
        "keras": _classes(expected[place], labels),
        "tflite": _classes(actual[place], labels),
    }
    if outputs[place].kind != "labels":
        classes = max(2, expected[place].shape[-1])
    known = labels >= 0 if classes is None else (labels >= 0) & (labels < classes)
    if classes is None and labels.ndim > 1 and _largest(labels, *sides.values()) < _NO_CLASS:
        known &= labels != _NO_CLASS
    if not known.any():
        return {}
    measures = {}
    for side, found in sides.items():
        measures[f"{side}_accuracy"] = float(np.mean((found == labels)[known]))
        if labels.ndim > 1:
            measures[f"{side}_mean_iou"] = _mean_iou(labels[known], found[known])
    return measures


def _fits(output, values, labels):
    if output.kind == "labels":
        return _without_last_axis(values, labels).shape == labels.shape
    if values.shape[:-1] != labels.shape:
        return False
    return labels.ndim > 1 or (output.kind == "scores" and values.shape[-1] > 1)


def _classes(values, labels):
    """Class of each sample or pixel."""
    if values.dtype.kind in "iub":
        values = _without_last_axis(values, labels)
    if values.ndim == labels.ndim:
        return values
    if values.shape[-1] > 1:
        return np.argmax(values, axis=-1)
    probabilities = values.min() >= 0 and values.max() <= 1
    return (values[..., 0] > (0.5 if probabilities else 0)).astype("int64")


def _without_last_axis(values, labels):
    """Integers without the axis that `argmax` keeps, where the labels have none."""
    keeps = values.ndim == labels.ndim + 1 and values.shape[-1] == 1
    return values[..., 0] if keeps else values


def _largest(*arrays):
    """The largest number in any array, apart from that of pixels without a class."""
    return max(x.max(initial=0, where=x != _NO_CLASS) for x in arrays)


def _mean_iou(labels, found):
    # Numbered anew, since a class may have any number, and the mean is over those that occur.
    names = np.union1d(labels, found)
    metric = MeanIoU(len(names), sparse_y_pred=True)
    metric.update_state(*(np.searchsorted(names, numbers) for numbers in (labels, found)))
    return float(metric.result())
