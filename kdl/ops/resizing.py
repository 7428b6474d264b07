"""Resizing that Keras does not offer."""

import numpy as np
from keras import ops

from kdl.ops.channels import channel_axis


def resize_align_corners(images, size, data_format="channels_last"):
    """Bilinear resize in which the corner pixels of input and output coincide.

    Output pixel `i` of `n` reads the input at `i · (m − 1) / (n − 1)` of `m` (at 0 where `n` is 1)
    and mixes the two pixels around it; rows and columns alike. This is `align_corners=True` of
    PyTorch and TensorFlow 1; `keras.ops.image.resize` has only half-pixel centres.

    Args:
        images: Float tensor `(batch, height, width, C)`, or `(batch, C, height, width)` with
            `data_format="channels_first"`; height and width must be known.
        size: `(height, width)` of the result.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Tensor of the dtype of `images`.

    Raises:
        ValueError: If the rank is not 4, a size is unknown or not positive.

    Example:
        >>> import numpy as np
        >>> row = np.array([0.0, 1.0], "float32").reshape(1, 1, 2, 1)
        >>> [round(float(v), 2) for v in resize_align_corners(row, (1, 3))[0, 0, :, 0]]
        [0.0, 0.5, 1.0]
    """
    if len(images.shape) != 4:
        raise ValueError(f"Expected images of rank 4; received shape {tuple(images.shape)}.")
    rows, columns = (1, 2) if channel_axis(data_format) == -1 else (2, 3)
    height, width = images.shape[rows], images.shape[columns]
    if None in (height, width):
        raise ValueError(
            f"resize_align_corners needs a known height and width; received shape "
            f"{tuple(images.shape)}. Give the model a full input_shape."
        )
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be two positive integers; received {size}.")
    vertical = ops.cast(_interpolation_matrix(height, size[0]), images.dtype)
    horizontal = ops.cast(_interpolation_matrix(width, size[1]), images.dtype)
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
