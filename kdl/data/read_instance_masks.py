"""Instance segmentation data sets: images beside the number of the object at each pixel."""

from pathlib import PurePosixPath

import numpy as np

from kdl._typing import Path
from kdl.data._entries import Entries, check_size, read_with_numbers, stack

_ADVICE = "Pass size to bring them to one."


def read_instance_masks(
    path: Path, size: int | tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads images and their instance masks from a folder or zip archive, such as of nuclei.

    `images/*.png` lie beside `instances/*.png` of the same names, whose pixels hold 0 for the
    background and k for object k. Images are turned upright, as their EXIF orientation says, and
    hidden files are ignored.

    Args:
        path: A folder or a zip archive.
        size: Height and width to which all are brought, one integer or two: images by the means of
            boxes, masks by their nearest pixel. None (default) leaves them, if all are alike.

    Returns:
        `(images, instances)`: uint8 `(samples, height, width, 3)` and int32 `(samples, height,
        width)`, by their names.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If there are no images, an image has no mask or one of another size, a file
            cannot be read, or sizes differ and `size` is None.
        ImportError: If Pillow is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for kind, mode in (("images", "RGB"), ("instances", "L")):
        ...         (pathlib.Path(root) / kind).mkdir()
        ...         Image.new(mode, (6, 4), 1).save(pathlib.Path(root) / kind / "cells.png")
        ...     images, instances = read_instance_masks(root, size=2)
        >>> images.shape, instances.tolist()
        ((1, 2, 2, 3), [[[1, 1], [1, 1]]])
    """
    size = None if size is None else check_size(size)
    with Entries(path) as entries:
        names = entries.matching((".png", ".jpg", ".jpeg"), start="images/")
        if not names:
            raise ValueError(
                f"Expected images in {entries.path} as images/*.png, beside instances/*.png; found "
                f"none."
            )
        images, masks = [], []
        for name in names:
            mask = f"instances/{PurePosixPath(name).stem}.png"
            entries.require(mask, f"the instance mask of {name}")
            image, numbers = read_with_numbers(entries, name, mask, size)
            images.append(image)
            masks.append(numbers)
        return stack(images, entries, _ADVICE), np.stack(masks)
