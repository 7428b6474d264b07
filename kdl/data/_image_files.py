"""Finds and reads the files of an image classification data set, in a folder or a zip archive."""

import io
import os
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

_SPLITS = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}
_HIDDEN = {"thumbs.db", "desktop.ini", "__macosx"}
# A wrapping folder, a split and a class: nothing is looked for below.
_DEPTH = 3


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
    """

    def __init__(self, path):
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"There is no folder or zip archive {path}.")
        self._path = path
        self._reader = _read_from_disk if path.is_dir() else _ZipReader(path)
        root = _scan_directory(path) if path.is_dir() else self._reader.scan()
        self.splits = _find_splits(_unwrap(root))

    def class_files(self, split):
        """`{class name: [file name, …]}` of a split, checked."""
        wanted = _SPLITS.get(split, split)
        if wanted not in self.splits:
            raise ValueError(
                f"{self._path} has no {_describe(wanted)}; it has "
                f"{', '.join(map(_describe, self.splits))}."
            )
        classes = self.splits[wanted]
        if len(classes) < 2:
            raise ValueError(
                f"Expected at least two class folders in {self._path} ({_describe(wanted)}), one a "
                f"class with its pictures inside; found {list(classes)}."
            )
        empty = [name for name, files in classes.items() if not files]
        if empty:
            raise ValueError(
                f"{len(empty)} class folder(s) in {self._path} ({_describe(wanted)}) hold no "
                f"files: {empty[:5]}. Fill or remove them; pictures must lie directly in the "
                f"folder of their class."
            )
        return classes

    def decode(self, name, spec):
        """The picture in file `name` as bytes, `spec.decode` of it."""
        file = io.BytesIO(self._reader(name))
        file.name = name
        return spec.decode(file)


class _ZipReader:
    """Reads entries of an archive; from one thread at a time, since they share one open file."""

    def __init__(self, path):
        try:
            self._archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{path} is neither a folder nor a sound zip archive ({error}). Fetch it again, or "
                f"unpack it and give the folder."
            ) from error
        self._path = path
        self._lock = threading.Lock()

    def __reduce__(self):
        return _ZipReader, (self._path,)

    def __call__(self, name):
        try:
            with self._lock:
                return self._archive.read(name)
        # BadZipFile and zlib's error for damage, RuntimeError for a password, NotImplementedError
        # for an unknown compression.
        except Exception as error:
            raise ValueError(f"Cannot read {name} from {self._path}: {error}") from error

    def scan(self):
        root = _Folder()
        for entry in dict.fromkeys(self._archive.namelist()):
            parts = [part for part in entry.split("/") if part not in ("", ".")]
            if any(map(_is_hidden, parts)):
                continue
            is_folder = entry.endswith("/")
            folder = root
            for part in parts if is_folder else parts[:-1]:
                folder = folder.folders.setdefault(part, _Folder())
            if not is_folder:
                folder.files.append(entry)
        return root


def _read_from_disk(name):
    return Path(name).read_bytes()


def _scan_directory(path, depth=0):
    folder = _Folder()
    with os.scandir(path) as entries:
        visible = [entry for entry in entries if not _is_hidden(entry.name)]
    for entry in visible:
        if not entry.is_dir():
            folder.files.append(entry.path)
        elif depth < _DEPTH:
            folder.folders[entry.name] = _scan_directory(entry.path, depth + 1)
    return folder


def _is_hidden(name):
    return name.startswith(".") or name.lower() in _HIDDEN


def _unwrap(root):
    """Steps into a folder that holds nothing but one folder of folders."""
    inner = list(root.folders.values())
    if len(inner) == 1 and inner[0].folders and not _split_folders(root):
        return inner[0]
    return root


def _split_folders(root):
    """The folders called train, test, …, unless they hold pictures: then they are classes."""
    return {
        name: folder
        for name, folder in sorted(root.folders.items())
        if name.lower() in _SPLITS and folder.folders and not folder.files
    }


def _find_splits(root):
    splits = {}
    for name, folder in _split_folders(root).items():
        split = _SPLITS[name.lower()]
        if split in splits:
            raise ValueError(f"Two folders hold the split {split!r}; remove one of them.")
        splits[split] = _classes(folder)
    return splits or {None: _classes(root)}


def _classes(folder):
    return {name: sorted(inner.files) for name, inner in sorted(folder.folders.items())}


def _describe(split):
    return "class folders at the top" if split is None else f"split {split!r}"
