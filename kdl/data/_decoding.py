"""Decode image files with Pillow: any format, orientation and depth, as bytes of one size."""

import contextlib
import importlib.util
import os

import numpy as np

_ORIENTATION_TAG = 0x0112
# Pillow hands these to Ghostscript, which runs what stands in them.
DRAWN_BY_PROGRAMS = ("EPS",)
# For each EXIF orientation, the name of Pillow's transposition that sets the image upright.
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# Of these width and height change places.
_SIDEWAYS = (5, 6, 7, 8)


def read_image(file, size, channels):
    """An image as bytes of one size and number of channels, in RGB order.

    Args:
        file: Path, open binary file, Pillow image or uint8 array.
        size: `(height, width)`.
        channels: 1 or 3.

    Returns:
        uint8 array `(height, width, channels)`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or no image, or the array is none.
        ImportError: If Pillow is needed and not installed.
    """
    if isinstance(file, np.ndarray):
        _check_image(file)
        if file.shape == (*size, channels):
            return file.copy()
    with _opened(file) as image:
        return _resized(image, size, channels)


def image_size(file):
    """`(height, width)` of an image, upright; mostly no more than the beginning of a file is read.

    Args:
        file: As `read_image` takes it; an open file must be one that can be read again.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no image, or the array is none.
        ImportError: If Pillow is needed and not installed.
    """
    if isinstance(file, np.ndarray):
        _check_image(file)
        return file.shape[:2]
    with _opened(file) as image:
        if image.format == "TIFF" and _orientation(image) in _SIDEWAYS:
            # Some versions of Pillow tell the upright size of a TIFF at once, but turn its pixels
            # and drop the tag only here.
            image.load()
        return image.size if _orientation(image) in _SIDEWAYS else image.size[::-1]


@contextlib.contextmanager
def _opened(file):
    """A Pillow image that may be changed; what fails within says which image it was."""
    _check_pillow()
    from PIL import Image, UnidentifiedImageError

    name = _name(file)
    try:
        if isinstance(file, np.ndarray):
            file = Image.fromarray(file[..., 0] if file.shape[2:] == (1,) else file)
        if isinstance(file, Image.Image):
            yield file.copy()
            return
        with Image.open(file) as image:
            if image.format in DRAWN_BY_PROGRAMS:
                raise ValueError(f"{image.format} is a program that draws; save it as PNG.")
            yield image
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {name}.") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"Cannot read {name}: it is not an image that Pillow knows.") from error
    # Pillow's plugins let out whatever a broken file makes them stumble over.
    except Exception as error:
        raise ValueError(f"Cannot read the image {name}: {error}") from error


def image_suffixes():
    """The ends of file names that Pillow takes for images, in small letters: `{".png", …}`."""
    _check_pillow()
    from PIL import Image

    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def upright(image):
    """A Pillow image turned as its EXIF orientation says."""
    from PIL import Image

    turn = _UPRIGHT.get(_orientation(image))
    return image.transpose(Image.Transpose[turn]) if turn else image


def _resized(image, size, channels):
    from PIL import Image

    image.draft(None, (2 * max(size),) * 2)
    image.load()
    image = to_bytes(upright(image), "L" if channels == 1 else "RGB")
    image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(*size, channels)


def _check_pillow():
    if importlib.util.find_spec("PIL") is None:
        raise ImportError("Reading images needs Pillow; run: pip install pillow")


def _orientation(image):
    try:
        return image.getexif().get(_ORIENTATION_TAG)
    # Damaged EXIF data raises many kinds of errors, and the pixels are good all the same.
    except Exception:
        return None


def to_bytes(image, mode):
    """Converts a Pillow image of any mode to `"L"` or `"RGB"`."""
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.asarray(image).astype("int64")
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its values do not fit 16 bit; save it with 8 or 16 bit a channel.")
        image = Image.fromarray((values >> 8).astype("uint8"))
    if image.mode == "F":
        raise ValueError("its values are floats of unknown range; save it with 8 bit a channel.")
    if image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def _check_image(array):
    shape = array.shape
    if array.dtype != np.uint8 or not (len(shape) == 2 or shape[2:] in ((1,), (3,), (4,))):
        raise ValueError(
            f"An image is a uint8 array (height, width), or with 1, 3 or 4 channels last; "
            f"received {array.dtype} of shape {shape}."
        )
    if not array.size:
        raise ValueError(f"The image of shape {shape} is empty.")


def _name(file):
    if isinstance(file, str | os.PathLike):
        return os.fspath(file)
    return getattr(file, "name", "the given file")
