"""Where published weights come from, as data, and how they are fetched."""

import dataclasses
import hashlib
import os

import keras

from kdl._warn import warn


@dataclasses.dataclass(frozen=True)
class WeightSource:
    """A published file of weights and what belongs to it.

    Attributes:
        name: File name under which it is kept in Keras's cache (`~/.keras/models`).
        url: Address of the file.
        sha256: First digits of the file's SHA-256; `""` where the publisher tells none: the file is
            then taken as it comes.
        parameters: Trainable parameters that the file holds.
        top1: Accuracy on ImageNet's validation set in percent, as published.
        licence: Licence of the weights, as their publisher states it.
        resize: Pixels to which the shorter side is resized before the centre crop.
        crop: Side of the centre crop in pixels.
        padding: Padding of the network that the weights belong to.
        restricted: Whether the licence restricts what the weights may be used for.
    """

    name: str
    url: str
    sha256: str
    parameters: int
    top1: float
    licence: str
    resize: int = 256
    crop: int = 224
    padding: str = "symmetric"
    restricted: bool = False

    @property
    def verified(self):
        """Whether a fetched file is compared with a SHA-256.

        Example:
            >>> import kdl
            >>> sources = [s for e in kdl.applications.list_models() for s in e.sources]
            >>> sum(not source.verified for source in sources), len(sources)
            (12, 54)
        """
        return bool(self.sha256)

    def download(self):
        """Fetches the file once, checks it, and returns its path.

        Warns of a licence that restricts use, and of a file whose SHA-256 nobody tells, before
        anything is fetched.

        Raises:
            ValueError: If the file's SHA-256 does not begin with `sha256` even after a second
                download; it is then removed.
            OSError: If the address cannot be reached.
        """
        if self.restricted:
            warn(f"The licence of {self.name} restricts its use: {self.licence}.")
        if not self.verified:
            warn(
                f"{self.name} is taken as it comes from {self.url}: its publisher tells no "
                f"SHA-256, so that a changed file cannot be told from the original."
            )
        for again in (False, True):
            path = self._fetch(force=again)
            digest = _sha256(path)
            if digest.startswith(self.sha256):
                return path
        os.remove(path)
        raise ValueError(
            f"{self.url} has SHA-256 {digest[: len(self.sha256)]}… where {self.sha256}… was "
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
