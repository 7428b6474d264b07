"""Class folders as arrays in memory."""

import numpy as np

from kdl._typing import Path
from kdl.data.image_folder import read_image_folder
from kdl.data.input_spec import InputSpec
from kdl.data.random_subset import random_subset


def load_image_folder(
    path: Path, spec: InputSpec, test_fraction: float = 0.2, seed: int = 0, verbose: int = 0
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], list[str]]:
    """Reads a folder or zip archive of images in class folders as arrays.

    The layouts and the split are those of `kdl.data.read_image_folder`. Both parts are shuffled,
    always alike for a seed, so that the first `n` samples are of all classes.

    Args:
        path: A folder or a zip archive.
        spec: `kdl.data.InputSpec`, the size and scale of the images.
        test_fraction: Share of the test where the folder has no split. Defaults to 0.2.
        seed: Non-negative integer, of the split and of the order.
        verbose: 1 for a progress bar while reading, 0 (default) for none.

    Returns:
        `(train, test, class_names)`: two pairs of float32 images `(samples, height, width,
        channels)` and int64 labels `(samples,)`, and the names in the order of the labels.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If `read_image_folder` finds something wrong with the folder or an argument.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from kdl.data import InputSpec
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for number in range(10):
        ...         folder = pathlib.Path(root) / ("cat", "dog")[number % 2]
        ...         folder.mkdir(exist_ok=True)
        ...         Image.new("RGB", (20, 10), "red").save(folder / f"{number}.png")
        ...     train, test, class_names = load_image_folder(root, InputSpec((8, 8)))
        >>> train[0].shape, test[1].shape, class_names
        ((8, 8, 8, 3), (2,), ['cat', 'dog'])
    """
    folders = read_image_folder(path, spec, test_fraction, seed, batch_size=1, verbose=verbose)
    train, test = (random_subset(folder.unaugmented(), seed=seed) for folder in folders)
    return train, test, folders[0].class_names
