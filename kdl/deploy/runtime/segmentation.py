"""The class of each pixel of an image."""

import dataclasses
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdl._files import write_whole
from kdl._plots import class_colors
from kdl._typing import Path
from kdl.data._decoding import read_image
from kdl.deploy.runtime.class_share import ClassShare


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of each pixel of an image, as `ImageSegmenter.predict` gives it.

    Attributes:
        label_map: Integers `(height, width)`.
        class_names: Names of the classes in the order of the labels; without names, numbers stand
            for them. Empty by default.

    Example:
        >>> import numpy as np
        >>> segmentation = Segmentation(np.array([[0, 1], [1, 1]]), ["ground", "road"])
        >>> segmentation.shares[0]
        ClassShare(label='road', index=1, share=0.75)
    """

    label_map: np.ndarray
    class_names: Sequence[str] = ()

    @property
    def shares(self) -> list[ClassShare]:
        """A `ClassShare` for each class that is there, the largest first."""
        indices, counts = np.unique(self.label_map, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [
            ClassShare(self._name(index), index, count / self.label_map.size)
            for index, count in zip(indices[order].tolist(), counts[order].tolist(), strict=True)
        ]

    def __repr__(self):
        size = "×".join(map(str, self.label_map.shape))
        shown = ", ".join(f"{one.label} {one.share:.1%}" for one in self.shares)
        return f"<Segmentation: {size}, {shown}>"

    def save(self, path: Path) -> None:
        """Writes the label map as a PNG file whose pixels are the labels, shown in colors.

        Of labels up to 255 it has a palette, as data sets of label maps have. Larger ones are
        written as 16 bits of gray. `kdl.data.read_label_maps` reads both.

        Args:
            path: File to write, `.png`.

        Raises:
            ValueError: If the ending is another, since JPEG would change labels; or a label is
                negative or above 65535.
            OSError: If the file cannot be written.
            ImportError: If Pillow is missing.
        """
        if os.path.splitext(os.fspath(path))[1].lower() != ".png":
            raise ValueError(f"Expected a .png file, which keeps a label map; received {path}.")
        least, most = int(self.label_map.min()), int(self.label_map.max())
        if least < 0 or most > 65535:
            raise ValueError(
                f"A PNG file holds labels of 0 … 65535; received {least} … {most}. Write "
                f"label_map with numpy.save."
            )
        image = _pillow().fromarray(self.label_map.astype("uint8" if most < 256 else "uint16"))
        if most < 256:
            image.putpalette(class_colors(256).tobytes())
        _write_image(image, path)

    def save_overlay(self, path: Path, image: Any, opacity: float = 0.5) -> None:
        """Writes the image with the colors of its classes laid over it.

        Args:
            path: File to write; its ending says how.
            image: The image, as `ImageSegmenter.predict` takes it, but for float arrays.
            opacity: Share of the colors, from 0 to 1. Defaults to 0.5.

        Raises:
            FileNotFoundError: If there is no such image.
            ValueError: If the image cannot be read, `opacity` is out of range, or Pillow does not
                write files of this ending.
            OSError: If the file cannot be written.
            ImportError: If Pillow is missing.
        """
        if not 0 <= opacity <= 1:
            raise ValueError(f"opacity must be from 0 to 1; received {opacity!r}.")
        pillow = _pillow()
        pixels = read_image(image, self.label_map.shape, 3)
        colors = class_colors(1 + max(0, int(self.label_map.max())))[self.label_map]
        mixed = np.where(self.label_map[..., None] < 0, pixels, _blend(pixels, colors, opacity))
        _write_image(pillow.fromarray(mixed.astype("uint8")), path)

    def _name(self, index):
        known = 0 <= index < len(self.class_names)
        return self.class_names[index] if known else str(index)


def _blend(pixels, colors, opacity):
    return np.round((1 - opacity) * pixels.astype("float32") + opacity * colors)


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Writing images needs Pillow; run: pip install pillow") from error
    return Image


def _write_image(image, path):
    """Writes a Pillow image whole."""
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    forms = _pillow().registered_extensions()
    if forms.get(suffix) not in _pillow().SAVE:
        raise ValueError(
            f"Expected a file that Pillow writes, such as .png or .jpg; received {path}."
        )
    content = io.BytesIO()
    image.save(content, format=forms[suffix])
    write_whole(path, content.getvalue())
