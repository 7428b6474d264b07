"""Sources of published weights: address, checksum, preprocessing, accuracy, license; download."""

import dataclasses
import hashlib
import os

import keras

from kdl._deprecation import renamed_attribute
from kdl._typing import Path
from kdl._warn import warn
from kdl.applications.preprocessing import input_spec
from kdl.data.input_spec import InputSpec


@dataclasses.dataclass(frozen=True)
class WeightSource:
    """Published file of weights, and the facts that belong to it.

    Attributes:
        name: File name in Keras's cache (`~/.keras/models`).
        url: Address of the file.
        sha256: First digits of the file's SHA-256; None where the publisher tells none: the file
            is then taken as it comes, with a warning, and `kdl list` says "no checksum".
        parameters: Trainable parameters that the file holds.
        top1: Accuracy on ImageNet's validation set in percent, as published.
        license: License of the weights, as their publisher states it.
        resize: Pixels to which the shorter side is resized before the center crop.
        crop: Side of the center crop in pixels.
        padding: Padding of the network that the weights belong to.
        preprocessing: Scale of the pixels that the weights expect: `"torch"` (default), `"tf"`,
            `"bgr"` or `"caffe"`, as the functions in `kdl.applications.preprocessing`.
        restricted: True if the license restricts the use of the weights.
    """

    name: str
    url: str
    sha256: str | None
    parameters: int
    top1: float
    license: str
    resize: int = 256
    crop: int = 224
    padding: str = "symmetric"
    preprocessing: str = "torch"
    restricted: bool = False

    licence = renamed_attribute("licence", "license")

    @classmethod
    def from_url(
        cls, url: str, parameters: int, top1: float, license: str, **more
    ) -> "WeightSource":
        """Source whose address ends in the checksum, as PyTorch's hub names its files.

        Args:
            url: Address that ends in `name-digits.pth`.
            parameters: Trainable parameters that the file holds.
            top1: Accuracy in percent, as published.
            license: License of the weights.
            **more: Other attributes.

        Example:
            >>> source = WeightSource.from_url("https://host/net-0a1b2c3d.pth", 10, 70.0, "MIT")
            >>> source.name, source.sha256
            ('net-0a1b2c3d.pth', '0a1b2c3d')
        """
        name = url.rsplit("/", 1)[1]
        digits = name.rsplit(".", 1)[0].rsplit("-", 1)[1]
        return cls(name, url, digits, parameters, top1, license, **more)

    @property
    def verified(self) -> bool:
        """True if a fetched file is compared with a SHA-256.

        Example:
            >>> import kdl
            >>> sources = [s for e in kdl.applications.list_models() for s in e.sources]
            >>> sum(not source.verified for source in sources), len(sources)
            (12, 55)
        """
        return self.sha256 is not None

    def input_spec(self, size: tuple[int, int]) -> InputSpec:
        """`kdl.data.InputSpec` of the images that the weights expect.

        Args:
            size: `(height, width)` of the network's input.

        Example:
            >>> import kdl
            >>> kdl.applications.list_models()[0].source.input_spec((96, 96)).mean
            (0.5, 0.5, 0.5)
        """
        return input_spec(self.preprocessing, size)

    def is_file(self, path: Path) -> bool:
        """True if a file is this one by its name and, where there is a checksum, its SHA-256.

        Args:
            path: Path of the file.
        """
        if os.path.basename(path) not in (self.name, self.url.rsplit("/", 1)[1]):
            return False
        return not self.verified or _sha256(path).startswith(self.sha256)

    def download(self) -> str:
        """Fetch the file once, check it, and return its path.

        Warns of a license that restricts use, and of a file without a checksum, before anything is
        fetched.

        Raises:
            ValueError: If the file's SHA-256 does not begin with `sha256` even after a second
                download; it is then removed.
            OSError: If the address cannot be reached.
        """
        if self.restricted:
            warn(f"The license of {self.name} restricts its use: {self.license}.")
        if not self.verified:
            warn(
                f"{self.name} is taken as it comes from {self.url}: its publisher tells no "
                f"SHA-256, so that a changed file cannot be told from the original."
            )
        known = self.sha256 or ""
        for again in (False, True):
            path = self._fetch(force=again)
            digest = _sha256(path)
            if digest.startswith(known):
                return path
        os.remove(path)
        raise ValueError(
            f"{self.url} has SHA-256 {digest[: len(known)]}… where {known}… was "
            f"expected, twice: the file was changed or the connection cuts it short. It was "
            f"removed."
        )

    def _fetch(self, force):
        try:
            return keras.utils.get_file(
                self.name, self.url, cache_subdir="models", force_download=force
            )
        except Exception as error:
            raise OSError(
                f"Could not download {self.url}: {error}. Check the connection, or download the "
                f"file elsewhere and pass its path as weights=."
            ) from error


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
