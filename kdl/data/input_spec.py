"""What a model wants its pictures to look like."""

import math
import os
from dataclasses import asdict, dataclass, fields

import numpy as np

_ORIENTATION_TAG = 0x0112
# For each EXIF orientation, the name of Pillow's transposition that sets the picture upright.
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True)
class InputSpec:
    """Size, channels and scale of a model's input, and how any picture file is brought there.

    `normalize` computes `(x / 255 − mean) / std` per channel from bytes `x`; `decode` brings a
    picture to bytes of the right size; `load` is `normalize(decode(picture))`. Mean and standard
    deviation are in units of [0, 1] pixels, so ImageNet's are `(0.485, 0.456, 0.406)` and
    `(0.229, 0.224, 0.225)`; `mean=0.5, std=0.5` three times gives [−1, 1], and `std=1/255` three
    times leaves 0 … 255.

    Args:
        size: `(height, width)` in pixels.
        channels: 1 for grey, 3 (default) for colour.
        mean: One number a channel, in the order that `color` gives; zeros by default.
        std: One positive number a channel, in the same order; ones by default.
        color: `"rgb"` (default) or `"bgr"`, the order of the channels; weights that come from
            Caffe or OpenCV want `"bgr"`.

    Raises:
        ValueError: If an argument is out of range or their lengths differ from `channels`.

    Example:
        >>> import numpy as np
        >>> spec = InputSpec((2, 2), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> picture = np.full((2, 2, 3), 255, "uint8")
        >>> float(spec.normalize(picture).max())
        1.0
        >>> InputSpec.from_dict(spec.to_dict()) == spec
        True
    """

    size: tuple[int, int]
    channels: int = 3
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color: str = "rgb"

    def __post_init__(self):
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3; received {self.channels!r}.")
        if self.color not in ("rgb", "bgr"):
            raise ValueError(f'color must be "rgb" or "bgr"; received {self.color!r}.')
        if self.color == "bgr" and self.channels == 1:
            raise ValueError('color="bgr" needs channels=3; received channels=1.')
        mean = (0.0,) * self.channels if self.mean is None else self.mean
        std = (1.0,) * self.channels if self.std is None else self.std
        object.__setattr__(self, "size", _checked_size(self.size))
        object.__setattr__(self, "mean", _checked_statistic("mean", mean, self.channels))
        object.__setattr__(self, "std", _checked_statistic("std", std, self.channels))
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive; received {self.std}.")

    def normalize(self, images):
        """`(images / 255 − mean) / std` in float32.

        Args:
            images: uint8 array `(…, channels)` whose channels are in the order of `color`.

        Returns:
            float32 array of the same shape.

        Raises:
            ValueError: If `images` is not uint8 or has another number of channels.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8:
            raise ValueError(f"normalize expects uint8 images in 0 … 255; received {images.dtype}.")
        if images.ndim < 1 or images.shape[-1] != self.channels:
            raise ValueError(
                f"normalize expects {self.channels} channels on the last axis; received shape "
                f"{images.shape}."
            )
        scaled = np.divide(images, 255, dtype="float32")
        scaled -= np.asarray(self.mean, "float32")
        scaled /= np.asarray(self.std, "float32")
        return scaled

    def load(self, file):
        """Reads a picture, ready for the model.

        Args:
            file: Path, open binary file, Pillow image or uint8 array, as `decode` takes them.

        Returns:
            float32 array `(height, width, channels)`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is truncated, or no picture that Pillow can read.
            ImportError: If Pillow is not installed.
        """
        return self.normalize(self.decode(file))

    def decode(self, file):
        """Reads a picture as bytes of the right size and channels.

        The EXIF orientation is applied; palettes are looked up, transparency is dropped, of 16 bit
        a channel the high byte is kept, and of an animation the first frame. Then it is resized
        with Pillow's antialiased bilinear filter, without regard to the aspect ratio. A JPEG file
        of more than twice the size is decoded at a half, quarter or eighth of its size, which is
        several times faster.

        An array is a picture `(height, width)`, or with 1 (grey), 3 (RGB) or 4 (RGBA) channels
        last. One of the right size and channels needs no Pillow.

        Args:
            file: Path, open binary file, Pillow image or uint8 array.

        Returns:
            uint8 array `(height, width, channels)`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is truncated, or no picture that Pillow can read, or the array
                is none.
            ImportError: If Pillow is needed and not installed.
        """
        if isinstance(file, np.ndarray):
            _check_picture(file)
            if file.shape == (*self.size, self.channels):
                return self._ordered(file.copy())
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as error:
            raise ImportError(
                "Reading pictures needs Pillow; run: pip install 'kdl[data]', or pillow alone"
            ) from error
        name = _name(file)
        try:
            if isinstance(file, np.ndarray):
                file = Image.fromarray(file[..., 0] if file.shape[2:] == (1,) else file)
            if isinstance(file, Image.Image):
                return self._to_array(file.copy())
            with Image.open(file) as image:
                return self._to_array(image)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"There is no file {name}.") from error
        except UnidentifiedImageError as error:
            raise ValueError(f"Cannot read {name}: it is not a picture that Pillow knows.") from (
                error
            )
        # Pillow's plugins let out whatever a broken file makes them stumble over.
        except Exception as error:
            raise ValueError(f"Cannot read the picture {name}: {error}") from error

    def to_dict(self):
        """The arguments as a dictionary that `json` can write."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, config):
        """Makes the `InputSpec` that `to_dict` wrote.

        Args:
            config: Dictionary of the constructor's arguments.

        Raises:
            ValueError: If `size` is missing, or a key is unknown.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(config) - set(known))
        if unknown or "size" not in config:
            raise ValueError(
                f"Expected a dictionary with the key 'size' and optionally {known[1:]}; received "
                f"the keys {sorted(config)}."
            )
        return cls(**config)

    def _to_array(self, image):
        from PIL import Image

        image.draft(None, (2 * max(self.size),) * 2)
        image.load()
        upright = _UPRIGHT.get(_orientation(image))
        if upright:
            image = image.transpose(Image.Transpose[upright])
        image = _to_bytes(image, "L" if self.channels == 1 else "RGB")
        image = image.resize(self.size[::-1], Image.Resampling.BILINEAR)
        return self._ordered(np.asarray(image).reshape(*self.size, self.channels))

    def _ordered(self, array):
        """An array whose channels are in the order of `color`, from one in RGB."""
        return array[..., ::-1] if self.color == "bgr" else array


def _orientation(image):
    try:
        return image.getexif().get(_ORIENTATION_TAG)
    # Damaged EXIF data raises many kinds of errors, and the pixels are good all the same.
    except Exception:
        return None


def _to_bytes(image, mode):
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


def _checked_size(size):
    integers = np.shape(size) == (2,) and all(isinstance(side, int | np.integer) for side in size)
    if not integers or min(size) < 1:
        raise ValueError(f"size must be (height, width), two positive integers; received {size!r}.")
    return tuple(int(side) for side in size)


def _checked_statistic(name, values, channels):
    if np.shape(values) != (channels,) or not all(math.isfinite(value) for value in values):
        raise ValueError(
            f"{name} must be {channels} finite numbers, one a channel; received {values!r}."
        )
    return tuple(float(value) for value in values)


def _check_picture(array):
    shape = array.shape
    if array.dtype != np.uint8 or not (len(shape) == 2 or shape[2:] in ((1,), (3,), (4,))):
        raise ValueError(
            f"A picture is a uint8 array (height, width), or with 1, 3 or 4 channels last; "
            f"received {array.dtype} of shape {shape}."
        )
    if not array.size:
        raise ValueError(f"The picture of shape {shape} is empty.")


def _name(file):
    if isinstance(file, str | os.PathLike):
        return os.fspath(file)
    return getattr(file, "name", "the given file")
