"""Label maps from what a network gives: brought to the size of the image."""

import numpy as np

# Numbers of a strip of scores that is held at once: 16 MB, and a few copies.
_STRIP = 2**22


def resized_argmax(scores, size):
    """The class of each pixel: argmax of the scores, resized bilinearly before.

    What is resized are scores and not labels, so that borders come out smooth. Pixels are squares
    whose centers correspond, as where Pillow resizes the image. The image is gone through in
    strips of rows: the scores of a photograph in 150 classes would not fit into memory.

    Args:
        scores: Floats `(height, width, classes)`.
        size: Height and width of the result.

    Returns:
        int32 array of that size.
    """
    if scores.shape[:2] == tuple(size):
        return scores.argmax(-1).astype("int32")
    scores = scores.astype("float32", copy=False)
    labels = np.empty(size, "int32")
    rows, columns = (_neighbors(n, m) for n, m in zip(scores.shape, size, strict=False))
    strip = max(1, _STRIP // (size[1] * scores.shape[2]))
    for start in range(0, size[0], strip):
        part = slice(start, start + strip)
        mixed = _mixed(scores, *(each[part] for each in rows), axis=0)
        labels[part] = _mixed(mixed, *columns, axis=1).argmax(-1)
    return labels


def resized_labels(labels, size):
    """A label map whose pixels take the label of the nearest one.

    Args:
        labels: Integers `(height, width)`.
        size: Height and width of the result.

    Returns:
        int32 array of that size.
    """
    rows, columns = (
        np.minimum((_centers(n, m) + 0.5).astype(int), n - 1)
        for n, m in zip(labels.shape, size, strict=True)
    )
    return labels[rows][:, columns].astype("int32")


def _centers(length, wanted):
    """Places of the result's pixels among those of the source, whose first is at 0."""
    return (np.arange(wanted) + 0.5) * (length / wanted) - 0.5


def _neighbors(length, wanted):
    """Both neighbors of each pixel of the result, and the share of the second."""
    places = np.clip(_centers(length, wanted), 0, length - 1)
    first = places.astype(int)
    return first, np.minimum(first + 1, length - 1), (places - first).astype("float32")


def _mixed(values, first, second, share, axis):
    share = share.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    one, other = values.take(first, axis), values.take(second, axis)
    return one + (other - one) * share
