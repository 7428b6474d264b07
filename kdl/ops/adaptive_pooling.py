"""Average pooling to a given size, whatever the input's."""

from collections.abc import Sequence

import numpy as np

from kdl._typing import Tensor
from kdl.ops.resizing import check_resizing, map_rows_and_columns


def adaptive_average_pool(
    images: Tensor, size: Sequence[int], data_format: str = "channels_last"
) -> Tensor:
    """Means over a grid of `size` cells, which share rows and columns where it does not divide.

    Of `m` rows cell `i` of `n` covers `⌊i · m / n⌋` to `⌈(i + 1) · m / n⌉ − 1`; columns alike. With
    fewer rows than cells, some cells repeat. This is PyTorch's `adaptive_avg_pool2d`.

    `keras.ops.adaptive_average_pool` gives the same numbers, but in Keras 3.15 a wrong shape in a
    functional model. Here two matrices average rows and columns, so that the operation also stands
    in a `.tflite` file as matrix products.

    Args:
        images: Float tensor `(batch, height, width, C)`, or `(batch, C, height, width)` with
            `data_format="channels_first"`; height and width must be known.
        size: `(height, width)` of the result.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Tensor of the dtype of `images`.

    Raises:
        ValueError: If the images are not floats of rank 4, or a size is unknown or not positive.

    Example:
        >>> import numpy as np
        >>> row = np.array([0.0, 1.0, 2.0], "float32").reshape(1, 1, 3, 1)
        >>> [float(v) for v in adaptive_average_pool(row, (1, 2))[0, 0, :, 0]]
        [0.5, 1.5]
    """
    height, width = check_resizing("adaptive_average_pool", images, size, data_format)
    vertical, horizontal = _averages(height, size[0]), _averages(width, size[1])
    return map_rows_and_columns(images, vertical, horizontal, data_format)


def adaptive_windows(source: int, target: int) -> list[tuple[int, int]]:
    """List of `target` pairs `(start, stop)`: what each output of an adaptive pooling covers."""
    return [(i * source // target, -(-(i + 1) * source // target)) for i in range(target)]


def _averages(source, target):
    """Matrix `(target, source)`: each row averages the cells that one output covers."""
    matrix = np.zeros((target, source), "float32")
    for row, (start, stop) in zip(matrix, adaptive_windows(source, target), strict=True):
        row[start:stop] = 1 / (stop - start)
    return matrix
