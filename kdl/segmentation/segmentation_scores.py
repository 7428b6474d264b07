"""Scores of label maps."""

from collections.abc import Sequence

import numpy as np

from kdl._typing import ArrayLike


def segmentation_scores(
    labels: ArrayLike, predicted: ArrayLike, class_names: Sequence[str]
) -> dict:
    """Pixel accuracy, mean IoU and the IoU of each class.

    `IoU_c = n_cc / (Σ_i n_ci + Σ_i n_ic − n_cc)`, where `n_ij` counts the pixels of class `i` that
    were taken for class `j`; the mean leaves out classes that are neither there nor predicted.
    During training, `kdl.metrics.MeanIoU` computes the same.

    Args:
        labels: True classes of the pixels, integers of any shape; those outside `0 … classes − 1`
            are unknown, and left out.
        predicted: Predicted classes, of the same shape, `0 … classes − 1`.
        class_names: Names in the order of the labels.

    Returns:
        Dict of `"accuracy"`, `"mean_iou"` and `"ious"`, a dict: name → IoU.

    Raises:
        ValueError: If the shapes differ, no pixel is known, or a prediction is no class.

    Example:
        >>> segmentation_scores([[0, 0, 1, 255]], [[0, 1, 1, 1]], ["ground", "road"])
        {'accuracy': 0.6666666666666666, 'mean_iou': 0.5, 'ious': {'ground': 0.5, 'road': 0.5}}
    """
    labels, predicted, classes = np.asarray(labels), np.asarray(predicted), len(class_names)
    if labels.shape != predicted.shape:
        raise ValueError(
            f"Expected labels and predictions of one shape; received {labels.shape} and "
            f"{predicted.shape}."
        )
    known = (labels >= 0) & (labels < classes)
    if not known.any():
        raise ValueError(f"Expected labels of 0 … {classes - 1}; no pixel has any.")
    truth, taken = labels[known].astype("int64"), predicted[known].astype("int64")
    if taken.min() < 0 or taken.max() >= classes:
        raise ValueError(
            f"Expected predictions of 0 … {classes - 1}, as class_names has them; received "
            f"{taken.min()} … {taken.max()}."
        )
    counts = np.bincount(truth * classes + taken, minlength=classes**2).reshape(classes, classes)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    there = union > 0
    ious = counts.diagonal()[there] / union[there]
    names = [name for name, is_there in zip(class_names, there, strict=True) if is_there]
    return {
        "accuracy": float(counts.trace() / counts.sum()),
        "mean_iou": float(ious.mean()),
        "ious": dict(zip(names, ious.tolist(), strict=True)),
    }
