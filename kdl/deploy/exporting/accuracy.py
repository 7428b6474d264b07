"""Accuracy of a model and of its file on labelled data."""

import numpy as np

from kdl.metrics import MeanIoU


def measure_accuracy(path, outputs, expected, actual, labels):
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

    Raises:
        ValueError: If label maps fit no output.
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
    sides = {"keras": expected[fitting[0]], "tflite": actual[fitting[0]]}
    count = _class_count(expected[fitting[0]], labels)
    known = (labels >= 0) & (labels < count)
    if not known.any():
        return {}
    measures = {}
    for side, values in sides.items():
        classes = _classes(values, labels)
        measures[f"{side}_accuracy"] = float(np.mean((classes == labels)[known]))
        if labels.ndim > 1:
            measures[f"{side}_mean_iou"] = _mean_iou(count, labels, classes)
    return measures


def _fits(output, values, labels):
    if values.shape == labels.shape:
        return output.kind == "labels"
    if values.shape[:-1] != labels.shape:
        return False
    return labels.ndim > 1 or (output.kind == "scores" and values.shape[-1] > 1)


def _class_count(values, labels):
    if values.ndim > labels.ndim:
        return max(2, values.shape[-1])
    return int(max(values.max(), 1)) + 1


def _classes(values, labels):
    """Class of each sample or pixel."""
    if values.ndim == labels.ndim:
        return values
    if values.shape[-1] > 1:
        return np.argmax(values, axis=-1)
    probabilities = values.min() >= 0 and values.max() <= 1
    return (values[..., 0] > (0.5 if probabilities else 0)).astype("int64")


def _mean_iou(count, labels, classes):
    metric = MeanIoU(count, sparse_y_pred=True)
    metric.update_state(labels, classes)
    return float(metric.result())
