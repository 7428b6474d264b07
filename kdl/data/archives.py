"""Zip archives of unknown origin: no entry may unpack to more than its archive explains."""

import contextlib
import os
import zipfile
from typing import Any

from kdl._typing import Path

# An entry may have 64 MiB, or a hundred times its packed size: what holds weights or images packs
# to a half, bytes that are all the same to a thousandth.
_FREE = 64 << 20
_RATIO = 100
_KNOWN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextlib.contextmanager
def opened(path: Path) -> Any:
    """The zip archive that a file is or ends with, as a `zipfile.ZipFile`; None if there is none.

    Raises:
        ValueError: If the archive is damaged; the message names the file.
    """
    if not zipfile.is_zipfile(path):
        yield None
        return
    with open_archive(path) as archive:
        yield archive


def open_archive(path: Path) -> Any:
    """Opens the zip archive at `path` as `zipfile.ZipFile` does, with one kind of error.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the archive is damaged, or its entries overlap, so that all of them together
            unpack to far more than it has; the message names the file.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise
    # Damage shows as BadZipFile, OSError, NotImplementedError, UnicodeDecodeError, struct.error, …
    except Exception as error:
        raise ValueError(f"{path} is no sound zip archive ({error}).") from error
    total = sum(entry.file_size for entry in archive.infolist() if not _is_bomb(entry))
    if total > max(_FREE, _RATIO * os.path.getsize(path)):
        archive.close()
        raise ValueError(f"{path} unpacks to {total:,} bytes: no honest archive does.")
    return archive


def read_entry(archive: Any, name: str, path: Path) -> bytes:
    """The bytes of an entry, of which there are never more than the archive explains.

    Args:
        archive: The open `zipfile.ZipFile`.
        name: Name of the entry, or its `zipfile.ZipInfo`.
        path: What messages call the archive.

    Raises:
        KeyError: If there is no such entry.
        ValueError: If it is damaged, encrypted, packed in a way other than Deflate, or unpacks to
            far more than it takes.
    """
    entry = archive.getinfo(name) if isinstance(name, str) else name
    check_entry(entry, path)
    try:
        # Without a size, `read` would unpack all at once, whatever the entry says of itself.
        with archive.open(entry) as stream:
            content = stream.read(entry.file_size)
        if len(content) != entry.file_size:
            raise ValueError(f"it ends after {len(content)} of {entry.file_size} bytes")
    # BadZipFile and zlib's error for damage, RuntimeError for a password.
    except Exception as error:
        raise ValueError(f"Cannot read {entry.filename} from {path}: {error}") from error
    return content


def check_entry(entry: Any, path: Path) -> None:
    """Refuses a `zipfile.ZipInfo` of unknown packing, or that unpacks to far more than it takes.

    Raises:
        ValueError: If so; the message names the entry and `path`, the archive.
    """
    if entry.compress_type not in _KNOWN:
        raise ValueError(
            f"Cannot read {entry.filename} from {path}: expected it stored or packed with Deflate; "
            f"it has compression {entry.compress_type}. Pack it anew."
        )
    if _is_bomb(entry):
        raise ValueError(
            f"Cannot read {entry.filename} from {path}: {entry.compress_size:,} bytes that unpack "
            f"to {entry.file_size:,} are no honest file."
        )


def _is_bomb(entry):
    return entry.file_size > max(_FREE, _RATIO * entry.compress_size)
