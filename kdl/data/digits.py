"""The handwritten digits that scikit-learn ships, as small images."""

import numpy as np

from kdl._checks import check_integer

_SOURCE_SIZE = 8
_SOURCE_MAXIMUM = 16.0


def digits(
    size: int | tuple[int, int] = 32, channels: int = 3
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """1,797 handwritten digits as float images, split into training and test, without a download.

    The 8×8 images with values 0 … 16 are divided by 16 and enlarged bilinearly with half-pixel
    centers: output pixel `i` reads the input at `(i + 0.5) · 8 / size − 0.5`, limited to 0 … 7.
    The split is stratified (every digit has the same share in both) and always the same.

    Args:
        size: Height and width of the images in pixels, at least 8; or a pair `(height, width)`.
        channels: 1, or 3 for the same gray image three times.

    Returns:
        `((x_train, y_train), (x_test, y_test))`: float32 images `(N, size, size, channels)` in
        [0, 1], channels last whatever Keras's image data format is, and int64 labels `(N,)` of
        0 … 9; 1,437 for training and 360 for the test.

    Raises:
        ValueError: If `size` is not an integer of at least 8 or two of them, or `channels` is not 1
            or 3.
        ImportError: If scikit-learn is not installed.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998 (its test set), as packed by scikit-learn.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = digits(size=16, channels=1)
        >>> x_train.shape, x_test.shape, float(x_train.min()), float(x_train.max())
        ((1437, 16, 16, 1), (360, 16, 16, 1), 0.0, 1.0)
    """
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"size must be one integer, or height and width; received {size!r}.")
    sides = tuple(check_integer("size", side, least=_SOURCE_SIZE) for side in sides)
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3; received {channels!r}.")
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            "kdl.data.digits needs scikit-learn; run: pip install scikit-learn"
        ) from error

    source = load_digits()
    enlarged = _enlarge(source.images / _SOURCE_MAXIMUM, sides).astype("float32")
    images = np.repeat(enlarged[..., None], channels, axis=-1)
    labels = source.target.astype("int64")
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def _enlarge(images, sides):
    """Bilinear resize of `(N, 8, 8)` to `(N, height, width)`."""
    rows, columns = map(interpolation_matrix, sides)
    return rows @ images @ columns.T


def interpolation_matrix(size, source=_SOURCE_SIZE):
    """Matrix `(size, source)` whose rows hold the two weights of each output pixel."""
    position = (np.arange(size) + 0.5) * source / size - 0.5
    position = np.clip(position, 0, source - 1)
    low = np.minimum(position.astype(int), source - 2)
    rows = np.arange(size)
    matrix = np.zeros((size, source))
    matrix[rows, low] = 1 - (position - low)
    matrix[rows, low + 1] = position - low
    return matrix
