"""Finds and reads the files of an image classification data set, in a folder or a zip archive."""

import io
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from kdl._words import counted
from kdl.data.archives import open_archive, read_entry

_SPLITS = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}
_HIDDEN = {"thumbs.db", "desktop.ini", "__macosx"}
# A wrapping folder, a split, a class and a folder in it, which is told; below is not looked.
_DEPTH = 4


@dataclass
class _Folder:
    folders: dict = field(default_factory=dict)
    files: list = field(default_factory=list)


class ImageFiles:
    """The class folders of a directory or archive, and access to their files.

    Args:
        path: A directory or a zip archive.

    Attributes:
        splits: `{split: {class name: [file name, …]}}`, both sorted; the split is `None` where the
            class folders are not in folders called train, test, val or validation.
        too_deep: `{split: [file name, …]}`: files in folders inside the class folders, which are
            left out.
    """

    def __init__(self, path):
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"There is no folder or zip archive {path}.")
        self._path = path
        self._reader = _read_from_disk if path.is_dir() else _ZipReader(path)
        root = _scan_directory(path) if path.is_dir() else self._reader.scan()
        self.splits, self.too_deep = _find_splits(_unwrap(root))

    def split_of(self, split):
        """The key of a split in `splits`."""
        return _SPLITS.get(split, split)

    def class_files(self, split):
        """`{class name: [file name, …]}` of a split, checked."""
        wanted = self.split_of(split)
        if wanted not in self.splits:
            raise ValueError(
                f"{self._path} has no {_describe(wanted)}; it has "
                f"{', '.join(map(_describe, self.splits))}."
            )
        classes = self.splits[wanted]
        if len(classes) < 2:
            raise ValueError(
                f"Expected at least two class folders in {self._path} ({_describe(wanted)}), one a "
                f"class with its images inside; found {list(classes)}."
            )
        empty = [name for name, files in classes.items() if not files]
        if empty:
            raise ValueError(
                f"{counted(len(empty), 'class folder')} without files in {self._path} "
                f"({_describe(wanted)}): {empty[:5]}. Fill or remove them; images must lie "
                f"directly in the folder of their class."
            )
        return classes

    def decode(self, name, spec):
        """The image in file `name` as bytes, `spec.decode` of it."""
        file = io.BytesIO(self._reader(name))
        file.name = name
        return spec.decode(file)


def is_hidden(parts):
    """True if a file is none of a data set: a dotfile, or what systems leave, or in such a folder.

    Args:
        parts: Names of the folders below the data set's, and of the file.

    Example:
        >>> is_hidden(["cats", "1.png"]), is_hidden(["__MACOSX", "cats", "._1.png"])
        (False, True)
    """
    return any((part.startswith(".") and part != ".") or part.lower() in _HIDDEN for part in parts)


class _ZipReader:
    """Reads entries of an archive; from one thread at a time, since they share one open file."""

    def __init__(self, path):
        try:
            self._archive = open_archive(path)
        except ValueError as error:
            raise ValueError(
                f"{path} is neither a folder nor a sound zip archive: {error} Fetch it again, or "
                f"unpack it and give the folder."
            ) from error
        self._path = path
        self._lock = threading.Lock()

    def __reduce__(self):
        return _ZipReader, (self._path,)

    def __call__(self, name):
        with self._lock:
            return read_entry(self._archive, name, self._path)

    def scan(self):
        root = _Folder()
        for entry in dict.fromkeys(self._archive.namelist()):
            parts = [part for part in entry.split("/") if part not in ("", ".")]
            if is_hidden(parts):
                continue
            is_folder = entry.endswith("/")
            folders = parts if is_folder else parts[:-1]
            folder = root
            for part in folders[:_DEPTH]:
                folder = folder.folders.setdefault(part, _Folder())
            if not is_folder and len(folders) <= _DEPTH:
                folder.files.append(entry)
        return root


def _read_from_disk(name):
    return Path(name).read_bytes()


def _scan_directory(path, depth=0):
    folder = _Folder()
    with os.scandir(path) as entries:
        visible = [entry for entry in entries if not is_hidden([entry.name])]
    for entry in visible:
        if not entry.is_dir():
            folder.files.append(entry.path)
        elif depth < _DEPTH:
            folder.folders[entry.name] = _scan_directory(entry.path, depth + 1)
    return folder


def _unwrap(root):
    """Steps into a folder that holds nothing but one folder of folders."""
    inner = list(root.folders.values())
    if len(inner) == 1 and inner[0].folders and not _split_folders(root):
        return inner[0]
    return root


def _split_folders(root):
    """The folders called train, test, …, unless they hold images: then they are classes."""
    return {
        name: folder
        for name, folder in sorted(root.folders.items())
        if name.lower() in _SPLITS and folder.folders and not folder.files
    }


def _find_splits(root):
    """The class folders of each split, and the files that lie too deep."""
    splits, too_deep = {}, {}
    for name, folder in _split_folders(root).items():
        split = _SPLITS[name.lower()]
        if split in splits:
            raise ValueError(f"Two folders hold the split {split!r}; remove one of them.")
        splits[split], too_deep[split] = _classes(folder), _inner_files(folder)
    if not splits:
        return {None: _classes(root)}, {None: _inner_files(root)}
    return splits, too_deep


def _classes(folder):
    return {name: sorted(inner.files) for name, inner in sorted(folder.folders.items())}


def _inner_files(folder, depth=0):
    """Files in the folders of the class folders."""
    found = [name for inner in folder.folders.values() for name in _inner_files(inner, depth + 1)]
    return sorted([*found, *(folder.files if depth > 1 else [])])


def _describe(split):
    return "class folders at the top" if split is None else f"split {split!r}"
