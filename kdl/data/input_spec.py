"""Preprocessing of images: size, channels, order of colors and scale of a model's input."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from kdl._checks import is_integer
from kdl._typing import ArrayLike, Shape
from kdl.data._decoding import read_image


@dataclass(frozen=True)
class InputSpec:
    """Preprocessing of images for a model: size, channels, color order, mean and deviation.

    `normalize` computes `(x / 255 − mean) / std` per channel from bytes `x`; `decode` brings a
    image to bytes of the right size; `load` is `normalize(decode(image))`. Mean and standard
    deviation are in units of [0, 1] pixels, so ImageNet's are `(0.485, 0.456, 0.406)` and
    `(0.229, 0.224, 0.225)`; `mean=0.5, std=0.5` three times gives [−1, 1], and `std=1/255` three
    times leaves 0 … 255.

    Args:
        size: `(height, width)` in pixels.
        channels: 1 for gray, 3 (default) for color.
        mean: One number a channel, in the order that `color` gives; zeros by default.
        std: One positive number a channel, in the same order; ones by default.
        color: `"rgb"` (default) or `"bgr"`, the order of the channels; weights that come from
            Caffe or OpenCV want `"bgr"`.
        dtype: `"float32"` (default), or `"uint8"` for a model that takes the bytes as they are
            and scales them itself; mean and std are then 0 and 1/255, and may be left out.

    Raises:
        ValueError: If an argument is out of range or their lengths differ from `channels`.

    Example:
        >>> import numpy as np
        >>> spec = InputSpec((2, 2), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> image = np.full((2, 2, 3), 255, "uint8")
        >>> float(spec.normalize(image).max())
        1.0
        >>> InputSpec.from_dict(spec.to_dict()) == spec
        True
    """

    size: tuple[int, int]
    channels: int = 3
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color: str = "rgb"
    dtype: str = "float32"

    def __post_init__(self):
        if self.dtype not in ("float32", "uint8"):
            raise ValueError(f'dtype must be "float32" or "uint8"; received {self.dtype!r}.')
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3; received {self.channels!r}.")
        if self.color not in ("rgb", "bgr"):
            raise ValueError(f'color must be "rgb" or "bgr"; received {self.color!r}.')
        if self.color == "bgr" and self.channels == 1:
            raise ValueError('color="bgr" needs channels=3; received channels=1.')
        mean = (0.0,) * self.channels if self.mean is None else self.mean
        scale = 1.0 if self.dtype == "float32" else 1 / 255
        std = (scale,) * self.channels if self.std is None else self.std
        object.__setattr__(self, "size", _checked_size(self.size))
        object.__setattr__(self, "mean", _checked_statistic("mean", mean, self.channels))
        object.__setattr__(self, "std", _checked_statistic("std", std, self.channels))
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive; received {self.std}.")
        if self.dtype == "uint8" and {*self.mean, *self.std} != {0.0, 1 / 255}:
            raise ValueError(
                f'dtype="uint8" leaves the bytes as they are: leave mean and std out; received '
                f"mean={mean} and std={std}."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image: `(height, width, channels)`."""
        return (*self.size, self.channels)

    def agrees_with(self, other: "InputSpec") -> bool:
        """Tell if images become the same inputs by both, but for rounding.

        Args:
            other: `InputSpec`.
        """
        same = (self.shape, self.color, self.dtype) == (other.shape, other.color, other.dtype)
        pairs = [(self.mean, other.mean), (self.std, other.std)]
        return same and all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)

    def place_among(self, shapes: Sequence[Shape]) -> int | None:
        """Place of the one among several shapes that images have; None unless one alone has it.

        Args:
            shapes: Shapes of a model's inputs, without batch.
        """
        places = [place for place, shape in enumerate(shapes) if tuple(shape) == self.shape]
        return places[0] if len(places) == 1 else None

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest number that an image may become."""
        ends = [self.normalize(np.full(self.channels, byte, "uint8")) for byte in (0, 255)]
        return float(np.min(ends)), float(np.max(ends))

    def check(self, inputs: np.ndarray, argument: str = "inputs") -> None:
        """Raises ValueError unless `inputs` are in the range that images have by this.

        A hundredth of the range is allowed beyond each end.

        Args:
            inputs: Array `(…, height, width, channels)`.
            argument: What messages call it.

        Raises:
            ValueError: If the shape or the range is another.
        """
        if tuple(inputs.shape[-3:]) != self.shape:
            raise ValueError(
                f"{argument} must hold images of shape {self.shape}; received {inputs.shape}."
            )
        low, high = self.limits
        margin = 0.01 * (high - low)
        # Written so that NaN is out of every range.
        if not (inputs.min() >= low - margin and inputs.max() <= high + margin):
            raise ValueError(
                f"{argument} spans {inputs.min():.4g} … {inputs.max():.4g}, but images become "
                f"{low:.4g} … {high:.4g} by {self}: pass what its load or normalize gives."
            )

    def normalize(self, images: ArrayLike) -> np.ndarray:
        """`(images / 255 − mean) / std` in float32; the bytes themselves if `dtype` is uint8.

        Args:
            images: uint8 array `(…, channels)` whose channels are in the order of `color`.

        Returns:
            Array of `dtype` and the same shape.

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
        if self.dtype == "uint8":
            return images
        scaled = np.divide(images, 255, dtype="float32")
        scaled -= np.asarray(self.mean, "float32")
        scaled /= np.asarray(self.std, "float32")
        return scaled

    def load(self, file: Any) -> np.ndarray:
        """Reads an image, ready for the model.

        Args:
            file: Path, open binary file, Pillow image or uint8 array, as `decode` takes them.

        Returns:
            Array `(height, width, channels)` of `dtype`. Of transparent pixels only the color
            counts that is kept beneath them, which mostly is black; no background is put there.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is truncated, or no image that Pillow can read.
            ImportError: If Pillow is not installed.
        """
        return self.normalize(self.decode(file))

    def decode(self, file: Any) -> np.ndarray:
        """Reads an image as bytes of the right size and channels.

        The EXIF orientation is applied; palettes are looked up, transparency is dropped (what
        is transparent becomes the color kept beneath it, mostly black: paste the image on a
        background first if another is meant), of 16 bit a channel the high byte is kept, and of an
        animation the first frame. Then it is resized
        with Pillow's antialiased bilinear filter, without regard to the aspect ratio. A JPEG file
        of more than twice the size is decoded at a half, quarter or eighth of its size, which is
        several times faster.

        An array is an image `(height, width)`, or with 1 (gray), 3 (RGB) or 4 (RGBA) channels
        last. One of the right size and channels needs no Pillow.

        Args:
            file: Path, open binary file, Pillow image or uint8 array.

        Returns:
            uint8 array `(height, width, channels)`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is truncated, or no image that Pillow can read, or has more
                pixels than Pillow takes for honest, or the array is none.
            ImportError: If Pillow is needed and not installed.
        """
        array = read_image(file, self.size, self.channels)
        return array[..., ::-1] if self.color == "bgr" else array

    def to_dict(self) -> dict[str, Any]:
        """The arguments as a dictionary that `json` can write, without a `dtype` of float32."""
        config = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }
        if self.dtype == "float32":  # so that earlier versions can read it
            del config["dtype"]
        return config

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> "InputSpec":
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


def _checked_size(size):
    integers = np.shape(size) == (2,) and all(map(is_integer, size))
    if not integers or min(size) < 1:
        raise ValueError(f"size must be (height, width), two positive integers; received {size!r}.")
    return tuple(int(side) for side in size)


def _checked_statistic(name, values, channels):
    if np.shape(values) != (channels,) or not all(math.isfinite(value) for value in values):
        raise ValueError(
            f"{name} must be {channels} finite numbers, one a channel; received {values!r}."
        )
    return tuple(float(value) for value in values)
