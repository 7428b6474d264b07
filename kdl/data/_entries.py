"""The files of a data set in a folder or a zip archive, by their names inside it."""

import io
from pathlib import Path

import numpy as np

from kdl._checks import check_integer
from kdl.data._decoding import DRAWN_BY_PROGRAMS
from kdl.data.archives import open_archive, read_entry


class Entries:
    """Sorted names of the files below a folder or in a zip archive, and their contents.

    Args:
        path: A folder or a zip archive.

    Attributes:
        names: Sorted names, with slashes, from the folder or the archive on.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If `path` is a file but no sound zip archive.
        ImportError: If Pillow is not installed.
    """

    def __init__(self, path):
        try:
            import PIL.Image  # noqa: F401
        except ImportError as error:
            raise ImportError("Reading images needs Pillow; run: pip install pillow") from error
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"There is no folder or zip archive {path}.")
        if self.path.is_dir():
            self._archive = None
            files = (file for file in self.path.rglob("*") if file.is_file())
            self.names = sorted(file.relative_to(self.path).as_posix() for file in files)
        else:
            self._archive = open_archive(self.path)
            names = self._archive.namelist()
            self.names = sorted({name for name in names if not name.endswith("/")})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._archive is not None:
            self._archive.close()

    def matching(self, ending, start="", parent=None):
        """Names with an ending such as `".png"`, of upper or lower case.

        Args:
            ending: The ending, or a tuple of several.
            start: What the names begin with.
            parent: Name of the folder in which the files lie; None (default) for any.
        """
        found = [n for n in self.names if n.startswith(start) and n.lower().endswith(ending)]
        return [n for n in found if parent is None or Path(n).parent.name == parent]

    def require(self, name, what):
        """ValueError if there is no file `name`, which is `what`."""
        if name not in self.names:
            raise ValueError(f"Expected {what} as {name} in {self.path}; there is no such file.")

    def read(self, name):
        """The bytes of a file."""
        if self._archive is None:
            return (self.path / name).read_bytes()
        return read_entry(self._archive, name, self.path)

    def open_image(self, name):
        """A file as a `PIL.Image.Image`."""
        from PIL import Image

        content = io.BytesIO(self.read(name))
        try:
            image = Image.open(content)
            if image.format in DRAWN_BY_PROGRAMS:
                raise ValueError(f"{image.format} is a program that draws; save it as PNG.")
            image.load()
        # Pillow's plugins let out whatever a broken file makes them stumble over.
        except Exception as error:
            raise ValueError(f"Cannot read {name} in {self.path} as an image: {error}") from error
        return image


def read_rgb(entries, name, size=None):
    """An image as uint8 `(height, width, 3)`, reduced by the means of boxes of pixels."""
    from PIL import Image

    image = entries.open_image(name).convert("RGB")
    if size is not None:
        image = image.resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(image)


def read_numbers(entries, name, size=None):
    """An image of numbers, such as of classes or objects, as int32 `(height, width)`.

    What is resized keeps its numbers: of each box the nearest pixel.
    """
    from PIL import Image

    image = entries.open_image(name)
    if len(image.getbands()) != 1:
        raise ValueError(
            f"Expected {name} in {entries.path} to hold one number a pixel; it is an image of the "
            f"bands {', '.join(image.getbands())}. Save its numbers as gray values or as a palette."
        )
    if size is not None:
        image = image.resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(image).astype("int32")


def stack(parts, entries, advice):
    """The arrays as one, or ValueError if they differ in size."""
    shapes = sorted({part.shape[:2] for part in parts})
    if len(shapes) > 1:
        raise ValueError(
            f"Expected images of one size in {entries.path}; found {shapes[0]} and {shapes[1]} "
            f"among others. {advice}"
        )
    return np.stack(parts)


def check_size(size):
    """`(height, width)` of an integer or a pair of them."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise ValueError(f"size must be one integer, or height and width; received {size!r}.")
    return tuple(check_integer("size", side) for side in sides)
