"""Resizing that Keras does not offer."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kdl._checks import is_integer
from kdl._typing import Tensor
from kdl.ops.channels import spatial_axes


def resize_align_corners(
    images: Tensor, size: Sequence[int], data_format: str = "channels_last"
) -> Tensor:
    """Bilinear resize in which the corner pixels of input and output coincide.

    Output pixel `i` of `n` reads the input at `i · (m − 1) / (n − 1)` of `m` (at 0 where `n` is 1)
    and mixes the two pixels around it; rows and columns alike. This is `align_corners=True` of
    PyTorch and TensorFlow 1; `keras.ops.image.resize` has only half-pixel centers.

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
        >>> row = np.array([0.0, 1.0], "float32").reshape(1, 1, 2, 1)
        >>> [round(float(v), 2) for v in resize_align_corners(row, (1, 3))[0, 0, :, 0]]
        [0.0, 0.5, 1.0]
    """
    height, width = check_resizing("resize_align_corners", images, size, data_format)
    vertical = _interpolation_matrix(height, size[0])
    horizontal = _interpolation_matrix(width, size[1])
    return map_rows_and_columns(images, vertical, horizontal, data_format)


def check_resizing(
    name: str, images: Tensor, size: Sequence[int], data_format: str
) -> tuple[int, int]:
    """Height and width of `images`.

    Raises:
        ValueError: If the images are not floats of rank 4, or a size is unknown or not positive.
    """
    dtype = keras.backend.standardize_dtype(images.dtype)
    if "float" not in dtype:
        raise ValueError(
            f"{name} needs float images; received {dtype}. Cast them: ops.cast(images, 'float32')."
        )
    if len(images.shape) != 4:
        raise ValueError(f"Expected images of rank 4; received shape {tuple(images.shape)}.")
    height, width = (images.shape[axis] for axis in spatial_axes(data_format))
    if None in (height, width):
        raise ValueError(
            f"{name} needs a known height and width; received shape {tuple(images.shape)}. Give "
            f"the model a full input_shape."
        )
    if is_integer(size) or len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be two positive integers; received {size}.")
    return height, width


def map_rows_and_columns(
    images: Tensor, vertical: np.ndarray, horizontal: np.ndarray, data_format: str
) -> Tensor:
    """Multiply the rows of images by one matrix and their columns by another.

    Args:
        images: Tensor of rank 4.
        vertical: Array `(new height, height)`.
        horizontal: Array `(new width, width)`.
        data_format: `"channels_last"` or `"channels_first"`.
    """
    dtype = keras.backend.standardize_dtype(images.dtype)
    vertical, horizontal = ops.cast(vertical, dtype), ops.cast(horizontal, dtype)
    if data_format == "channels_last":
        stretched = ops.einsum("oh,nhwc->nowc", vertical, images)
        return ops.einsum("pw,nowc->nopc", horizontal, stretched)
    stretched = ops.einsum("oh,nchw->ncow", vertical, images)
    return ops.einsum("pw,ncow->ncop", horizontal, stretched)


def _interpolation_matrix(source, target):
    """Matrix `(target, source)` whose rows hold the two weights of a linear interpolation."""
    step = (source - 1) / (target - 1) if target > 1 else 0.0
    position = np.arange(target) * step
    low = np.minimum(position.astype(int), source - 1)
    high = np.minimum(low + 1, source - 1)
    matrix = np.zeros((target, source), "float32")
    rows = np.arange(target)
    matrix[rows, low] += 1 - (position - low)
    matrix[rows, high] += position - low
    return matrix
