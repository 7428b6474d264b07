"""The files of a data set in a folder or a zip archive, by their names inside it."""

import io
from pathlib import Path

import numpy as np

from kdl._checks import check_integer
from kdl.data._decoding import DRAWN_BY_PROGRAMS, to_bytes, upright
from kdl.data._image_files import is_hidden
from kdl.data.archives import open_archive, read_entry


class Entries:
    """Sorted names of the files below a folder or in a zip archive, and their contents.

    Args:
        path: A folder or a zip archive.

    Attributes:
        names: Sorted names, with slashes, from the folder or the archive on; without hidden files,
            such as those that a Mac packs beside all others.

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
            names = {file.relative_to(self.path).as_posix() for file in files}
        else:
            self._archive = open_archive(self.path)
            names = {name for name in self._archive.namelist() if not name.endswith("/")}
        self.names = sorted(name for name in names if not is_hidden(name.split("/")))

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
        """A file as a `PIL.Image.Image`, upright."""
        from PIL import Image

        content = io.BytesIO(self.read(name))
        try:
            image = Image.open(content)
            if image.format in DRAWN_BY_PROGRAMS:
                raise ValueError(f"{image.format} is a program that draws; save it as PNG.")
            image.load()
            return upright(image)
        # Pillow's plugins let out whatever a broken file makes them stumble over.
        except Exception as error:
            raise ValueError(f"Cannot read {name} in {self.path} as an image: {error}") from error


def rgb_array(image, size=None):
    """A Pillow image as uint8 `(height, width, 3)`, reduced by the means of boxes of pixels."""
    from PIL import Image

    image = to_bytes(image, "RGB")
    if size is not None:
        image = image.resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(image)


def read_with_numbers(entries, name, name_of_numbers, size=None):
    """An image as `rgb_array`, and the number of each of its pixels, such as of a class or object.

    What is resized keeps its numbers: of each box the nearest pixel.

    Args:
        entries: `Entries`.
        name: File of the image.
        name_of_numbers: File of the numbers, an image of one band and of the same size.
        size: `(height, width)` of what is returned; None for their own.

    Returns:
        uint8 `(height, width, 3)` and int32 `(height, width)`.

    Raises:
        ValueError: If a file cannot be read, or bands or sizes are others.
    """
    from PIL import Image

    image, numbers = entries.open_image(name), entries.open_image(name_of_numbers)
    if len(numbers.getbands()) != 1:
        raise ValueError(
            f"Expected {name_of_numbers} in {entries.path} to hold one number a pixel; it is an "
            f"image of the bands {', '.join(numbers.getbands())}. Save its numbers as gray values "
            f"or as a palette."
        )
    # Of resized ones no one would see that they do not belong together.
    if image.size != numbers.size:
        raise ValueError(
            f"Expected {name_of_numbers} in {entries.path} to have the size of its image, "
            f"{image.size[::-1]} (height, width, upright); it has {numbers.size[::-1]}."
        )
    if size is not None:
        numbers = numbers.resize(size[::-1], Image.Resampling.NEAREST)
    return rgb_array(image, size), np.asarray(numbers).astype("int32")


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
