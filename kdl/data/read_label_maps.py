"""Semantic segmentation data sets: images beside the class of each pixel."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from kdl._typing import Path
from kdl.data._entries import Entries, check_size, read_with_numbers, stack

_ADVICE = "Pass size to bring them to one."


def read_label_maps(
    path: Path,
    splits: Sequence[str] = ("train", "val", "test"),
    size: int | tuple[int, int] | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads images and their label maps from a folder or zip archive, such as CamVid's.

    For each split, `<split>/images/*.jpg` (or `.png`) lie beside `<split>/labels/*.png` of the same
    names, whose pixels hold the number of a class. Images are turned upright, as their EXIF
    orientation says, and hidden files are ignored.

    Args:
        path: A folder or a zip archive.
        splits: Names of the splits. Defaults to `("train", "val", "test")`.
        size: Height and width to which all are brought, one integer or two: images by the means of
            boxes, labels by their nearest pixel. None (default) leaves them, if all are alike.

    Returns:
        Dict: split → `(images, labels)`, uint8 `(samples, height, width, 3)` and int32 `(samples,
        height, width)`.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If a split has no images, an image has no label map or one of another size, a
            file cannot be read, or sizes differ and `size` is None.
        ImportError: If Pillow is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for kind, mode in (("images", "RGB"), ("labels", "L")):
        ...         folder = pathlib.Path(root) / "train" / kind
        ...         folder.mkdir(parents=True)
        ...         Image.new(mode, (6, 4), 0).save(folder / "street.png")
        ...     images, labels = read_label_maps(root, ["train"])["train"]
        >>> images.shape, labels.shape
        ((1, 4, 6, 3), (1, 4, 6))
    """
    size = None if size is None else check_size(size)
    with Entries(path) as entries:
        return {split: _read_split(entries, split, size) for split in splits}


def _read_split(entries, split, size):
    names = entries.matching((".jpg", ".jpeg", ".png"), start=f"{split}/images/")
    if not names:
        raise ValueError(
            f"Expected images in {entries.path} as {split}/images/*.jpg, beside {split}/labels/; "
            f"found none. The split's name and place must be just so."
        )
    images, labels = [], []
    for name in names:
        label = f"{split}/labels/{PurePosixPath(name).stem}.png"
        entries.require(label, f"the label map of {name}")
        image, numbers = read_with_numbers(entries, name, label, size)
        images.append(image)
        labels.append(numbers)
    return stack(images, entries, _ADVICE), np.stack(labels)
