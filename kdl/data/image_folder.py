"""Image classification data sets in folders and archives."""

import copy
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from kdl._typing import Path
from kdl._warn import warn
from kdl._words import counted
from kdl.data._batches import Batches
from kdl.data._image_files import ImageFiles
from kdl.data.input_spec import InputSpec

_CHUNK = 64
_NAMED_IN_WARNING = 5


class ImageFolder(Batches):
    """Images in one folder a class, or in a zip archive of such folders, as batches for `fit`.

    Layouts: `<class>/*`, or `<split>/<class>/*` with the splits `train` and `test`, `val` or
    `validation`; one folder around it all is stepped into. Classes are numbered in the order of
    their sorted names. Dotfiles, `Thumbs.db`, `desktop.ini` and `__MACOSX` are ignored.

    Batches are `(images, labels)`: float32 `(batch, height, width, channels)` from
    `spec.normalize`, int64 `(batch,)`. Their order follows from `(seed, epoch)` alone; `epoch`
    moves on by itself after a full pass and may be set, as `kdl.data.ArrayDataset` explains: for
    repeatable runs, pass `shuffle=False` to `fit`.

    Every file is decoded once when the data set is made, on all CPU cores. The resized
    images stay in memory as bytes if `N · height · width · channels` is at most `cache_bytes`;
    otherwise they are decoded again for every batch. Files that cannot be read are left out with
    one warning, files in folders inside the class folders with another.

    Args:
        path: A directory or a zip archive.
        spec: `kdl.data.InputSpec`, the size and scale of the images.
        split: `"train"`, `"test"`, `"val"` or `"validation"` (the last two mean the same), for the
            layout with splits; `None` (default) for the layout without.
        batch_size: Samples in a batch.
        shuffle: Whether to shuffle; with `False` samples come class by class, sorted by file name.
        seed: Non-negative integer.
        drop_remainder: Whether to leave out a last batch of fewer samples.
        augment: Called with `(x, rng)` on each batch, or a list, as `kdl.data.ArrayDataset`
            explains. None (default) changes nothing.
        cache_bytes: Most memory that the images may take.
        verbose: 1 for a progress bar while reading, 0 (default) for none.

    Attributes:
        class_names: Sorted names of the classes.
        paths: File names, in the order of `labels`; in an archive, those of its entries.
        labels: int64 `(N,)`, indices into `class_names`.
        skipped: Names of the files that could not be read.
        num_samples: N.
        epoch: Number of the pass, from 0; may be set.
        cached: Whether the images stay in memory.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If `path` is a file but no sound zip archive, the split is not there, there are
            fewer than two class folders, or a class has no file or none that can be read.
        ImportError: If Pillow is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from kdl.data import InputSpec
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("cat", "dog"):
        ...         (Path(root) / name).mkdir()
        ...         Image.new("RGB", (20, 10), "red").save(Path(root) / name / "1.png")
        ...     images = ImageFolder(root, InputSpec((8, 8)))
        >>> images.class_names, images[0][0].shape
        (['cat', 'dog'], (2, 8, 8, 3))
    """

    def __init__(
        self,
        path: Path,
        spec: InputSpec,
        split: str | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        drop_remainder: bool = False,
        augment: Callable | Sequence[Callable] | None = None,
        cache_bytes: int = 2**30,
        verbose: int = 0,
    ) -> None:
        _check_spec(spec)
        files = ImageFiles(path)
        classes = files.class_files(split)
        names = [name for members in classes.values() for name in members]
        labels = np.repeat(np.arange(len(classes)), [len(members) for members in classes.values()])
        # Before the files are read, which takes long, so that a wrong argument is told at once.
        super().__init__(len(names), batch_size, shuffle, seed, drop_remainder, augment)
        self.spec = spec
        self.class_names: list[str] = list(classes)
        self.cached = len(names) * math.prod(spec.size) * spec.channels <= cache_bytes
        self._names = names
        self._images, errors = _read_all(files, spec, names, self.cached, verbose)
        self._files = None if self.cached else files
        self.skipped = [names[row] for row in sorted(errors)]
        readable = np.delete(np.arange(len(names)), sorted(errors))
        _check_readable(self.class_names, labels, readable, errors)
        _warn_of_skipped(path, self.skipped)
        _warn_of_too_deep(path, files.too_deep[files.split_of(split)])
        self._select(readable, labels[readable])

    def train_test_split(
        self, test_fraction: float = 0.2, seed: int = 0
    ) -> tuple["ImageFolder", "ImageFolder"]:
        """Splits every class into training and test images, always alike for the same `seed`.

        Of the `n` images of a class, `round(test_fraction · n)` go to the test, though at least
        one and at most `n − 1`. Nothing is decoded again and no memory is copied.

        Args:
            test_fraction: Share of the test, between 0 and 1.
            seed: Non-negative integer.

        Returns:
            `(train, test)`, two `ImageFolder`s. The first batches, shuffles and augments as this
            one does; the second is in order, drops nothing and augments nothing. `skipped` of both
            is that of this one.

        Raises:
            ValueError: If `test_fraction` is not between 0 and 1, or a class has only one image.
        """
        _check_fraction(test_fraction)
        counts = np.bincount(self.labels)
        if counts.min() < 2:
            raise ValueError(
                f"The class {self.class_names[counts.argmin()]!r} has a single image; a split "
                f"into training and test needs two of every class."
            )
        is_test = _stratified(self.labels, test_fraction, seed)
        train, test = copy.copy(self), copy.copy(self)
        test.shuffle, test.drop_remainder, test.augment = False, False, None
        for part, samples in ((train, ~is_test), (test, is_test)):
            part._select(self._rows[samples], self.labels[samples])
        return train, test

    def _select(self, rows, labels):
        self._rows = rows
        self.labels = labels.astype("int64")
        self.paths = [self._names[row] for row in rows]
        self._restart(len(rows))

    def _take(self, rows):
        labels = self.labels[rows]
        if self.cached:
            return self.spec.normalize(self._images[self._rows[rows]]), labels
        paths = [self.paths[row] for row in rows]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            images = list(pool.map(lambda name: self._files.decode(name, self.spec), paths))
        return self.spec.normalize(np.stack(images)), labels


def read_image_folder(
    path: Path,
    spec: InputSpec,
    test_fraction: float = 0.2,
    seed: int = 0,
    batch_size: int = 32,
    drop_remainder: bool = False,
    augment: Callable | Sequence[Callable] | None = None,
    cache_bytes: int = 2**30,
    verbose: int = 0,
) -> tuple[ImageFolder, ImageFolder]:
    """Reads a folder or zip archive of images as a training and a test data set.

    Where the class folders lie in `train` and `test` (or else `validation` or `val`), these are
    used; otherwise every class is split with a fixed seed, see `ImageFolder.train_test_split`. The
    training set is shuffled in every epoch, the test set never.

    Args:
        path: A directory or a zip archive; `ImageFolder` describes the layouts.
        spec: `kdl.data.InputSpec`, the size and scale of the images.
        test_fraction: Share of the test where the folder has no split.
        seed: Non-negative integer, of the split and of the shuffling.
        batch_size: Samples in a batch.
        drop_remainder: Whether to leave out a last training batch of fewer samples.
        augment: Called on each training batch, see `ImageFolder`; the test set is never changed.
        cache_bytes: Most memory that the images of one data set may take.
        verbose: 1 for a progress bar while reading, 0 (default) for none.

    Returns:
        `(train, test)`, two `ImageFolder`s with the same `class_names`.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If training and test have different classes, there is a test but no training
            folder, or for any reason that `ImageFolder` or `train_test_split` gives.
        ImportError: If Pillow is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from kdl.data import InputSpec
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for file in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        ...         (Path(root) / file).parent.mkdir(exist_ok=True)
        ...         Image.new("L", (8, 8)).save(Path(root) / file)
        ...     train, test = read_image_folder(root, InputSpec((8, 8)), test_fraction=0.5)
        >>> train.num_samples, test.num_samples
        (2, 2)
    """
    _check_spec(spec)
    splits = ImageFiles(path).splits
    held_out = next((name for name in ("test", "validation") if name in splits), None)
    if held_out and "train" not in splits:
        raise ValueError(f"{path} has the splits {sorted(splits)}, but no folder 'train'.")
    _check_fraction(test_fraction)
    both: dict[str, Any] = {
        "batch_size": batch_size,
        "seed": seed,
        "cache_bytes": cache_bytes,
        "verbose": verbose,
    }
    split = "train" if "train" in splits else None
    if held_out:
        _check_same_classes(path, splits["train"], splits[held_out])
    train = ImageFolder(path, spec, split, drop_remainder=drop_remainder, augment=augment, **both)
    if not held_out:
        return train.train_test_split(test_fraction, seed)
    return train, ImageFolder(path, spec, held_out, shuffle=False, **both)


def _read_all(files, spec, names, keep, verbose):
    """Decodes every file once: the images, or `None`, and `{row: error}` of the broken ones."""
    images = np.empty((len(names), *spec.size, spec.channels), "uint8") if keep else None
    errors = {}

    def read(rows):
        for row in rows:
            try:
                image = files.decode(names[row], spec)
            except (OSError, ValueError) as error:
                errors[row] = error
                continue
            if keep:
                images[row] = image
        return len(rows)

    chunks = [range(len(names))[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    progress = keras.utils.Progbar(len(names), unit_name="file") if verbose == 1 else None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for count in pool.map(read, chunks):
            if progress:
                progress.add(count)
    return images, errors


def _check_readable(class_names, labels, readable, errors):
    found = set(labels[readable].tolist())
    for label, name in enumerate(class_names):
        if label not in found:
            row = next(row for row in sorted(errors) if labels[row] == label)
            raise ValueError(
                f"No file of the class {name!r} can be read as an image. The first: {errors[row]}"
            )


def _warn_of_skipped(path, skipped):
    if skipped:
        named = ", ".join(skipped[:_NAMED_IN_WARNING])
        more = ", …" if len(skipped) > _NAMED_IN_WARNING else ""
        warn(
            f"{path}: left out {counted(len(skipped), 'file')} that cannot be read as images: "
            f"{named}{more}. The attribute `skipped` lists them all."
        )


def _warn_of_too_deep(path, names):
    if names:
        warn(
            f"{path}: left out {counted(len(names), 'file')} in folders inside the class folders, "
            f"such as {names[0]}. Images count that lie directly in the folder of their class."
        )


def _check_spec(spec):
    if not isinstance(spec, InputSpec):
        raise ValueError(
            f"spec must be a kdl.data.InputSpec, such as InputSpec((64, 64)); received {spec!r}."
        )


def _check_fraction(test_fraction):
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1; received {test_fraction!r}.")


def _check_same_classes(path, train, held_out):
    only_train, only_test = sorted(set(train) - set(held_out)), sorted(set(held_out) - set(train))
    if only_train or only_test:
        raise ValueError(
            f"Training and test of {path} must have the same class folders; only in training: "
            f"{only_train}, only in the test: {only_test}."
        )


def _stratified(labels, test_fraction, seed):
    """Mask of the test samples, the same share of every class."""
    rng = np.random.default_rng(seed)
    is_test = np.zeros(len(labels), bool)
    for label in range(labels.max() + 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = round(test_fraction * len(members))
        is_test[members[: min(max(count, 1), len(members) - 1)]] = True
    return is_test
