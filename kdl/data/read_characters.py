"""Drawn characters in nested folders, such as Omniglot's."""

import numpy as np

from kdl._checks import check_integer
from kdl._typing import Path
from kdl.data._decoding import to_bytes
from kdl.data._entries import Entries


def read_characters(path: Path, size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Reads drawings from a folder or zip archive in which each lowest folder is a class.

    So Omniglot comes: `<alphabet>/<character>/*.png`, twenty drawings of each character, black on
    white. They are turned to white on black. Hidden files are ignored.

    Args:
        path: A folder or a zip archive.
        size: Height and width, to which drawings are brought by the means of boxes of pixels.
            Defaults to 28.

    Returns:
        `(images, labels)`: float32 `(samples, size, size, 1)` in [0, 1] by their names, and int64
        `(samples,)`, the numbers of the sorted folders.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If there are no drawings in folders, or a file cannot be read.
        ImportError: If Pillow is not installed.

    Source: Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic
    program induction", Science 350, 2015.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("alpha", "beta"):
        ...         folder = pathlib.Path(root) / "Greek" / name
        ...         folder.mkdir(parents=True)
        ...         Image.new("1", (105, 105), 1).save(folder / "1.png")
        ...     images, labels = read_characters(root)
        >>> images.shape, labels.tolist(), float(images.max())
        ((2, 28, 28, 1), [0, 1], 0.0)
    """
    size = check_integer("size", size)
    with Entries(path) as entries:
        names = [name for name in entries.matching(".png") if "/" in name]
        if not names:
            raise ValueError(
                f"Expected drawings in {entries.path} as <folders>/<class>/*.png; found none."
            )
        images = np.stack([_drawing(entries, name, size) for name in names])
    _, labels = np.unique([name.rsplit("/", 1)[0] for name in names], return_inverse=True)
    return images[..., None].astype("float32") / 255, labels.astype("int64")


def _drawing(entries, name, size):
    from PIL import Image, ImageOps

    drawing = ImageOps.invert(to_bytes(entries.open_image(name), "L"))
    return np.asarray(drawing.resize((size, size), Image.Resampling.BOX))
