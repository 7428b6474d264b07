"""Looks at the truth that a detector is to learn, before hours of training."""

import numpy as np


def check_data(x, y, classes):
    """Raises ValueError if truth cannot be a detector's.

    Args:
        x: Images, or a data set, of whose class names there must be few enough.
        y: Truth in arrays, or what else `fit` takes, which is not looked at.
        classes: Number of classes.
    """
    names = getattr(x, "class_names", None)
    if names is not None and len(names) > classes:
        raise ValueError(f"The data has {len(names)} classes, the detector has {classes}.")
    if isinstance(y, dict) and all(isinstance(y.get(k), np.ndarray) for k in ("boxes", "labels")):
        _check_arrays(y["boxes"], y["labels"], y.get("ignore"), classes)


def _check_arrays(boxes, labels, ignore, classes):
    if boxes.shape != (*labels.shape, 4):
        raise ValueError(
            f"Expected boxes (batch, G, 4) and labels (batch, G); received shapes {boxes.shape} "
            f"and {labels.shape}."
        )
    real = labels >= 0
    if not real.any():
        return
    found = labels[real] if ignore is None else labels[real & ~np.asarray(ignore, bool)]
    if found.max(initial=0) >= classes:
        raise ValueError(
            f"Labels count from 0 to {classes - 1}, background not among them; received "
            f"{found.max():g}."
        )
    boxes = boxes[real]
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(
            f"Boxes must be (x1, y1, x2, y2); received {_first(boxes)}. Convert others with "
            f"keras.utils.bounding_boxes.convert_format."
        )
    if 0 < boxes.max() <= 1 and (boxes % 1 != 0).any():
        raise ValueError(
            f"Boxes must be in pixels of the images, not shares of their sides; received "
            f"{_first(boxes)}."
        )


def _first(boxes):
    """The box that shows the most."""
    return boxes[np.argmin((boxes[:, 2:] - boxes[:, :2]).min(1))].tolist()
