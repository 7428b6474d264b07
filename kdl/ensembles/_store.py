"""The directory of an ensemble: `ensemble.json`, and a `.keras` file a member.

The manifest names the files. Files are written whole under names of their own before the manifest
is replaced in one step, so that a kill at any moment leaves the ensemble as it was before or after.
"""

import contextlib
import hashlib
import json
import os
import re
import time

from kdl._files import target_of, write_whole

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

MANIFEST = "ensemble.json"
FORMAT = 1
# `_file_name` of any key: a number, and what tells its parts apart.
_MEMBER = re.compile(r"member-\d[\w-]*-[0-9a-f]{12}\.keras")
_PATIENCE = 3.0  # seconds: a killed process keeps its lock until the system has cleared it away


class Store:
    """Access to the directory of an ensemble; it is made if it does not exist.

    Args:
        directory: Its path.

    Raises:
        ValueError: If there is something else at the path.
    """

    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        if os.path.exists(self.directory) and not os.path.isdir(self.directory):
            raise ValueError(f"{directory} is a file; an ensemble is kept in a directory.")
        os.makedirs(self.directory, exist_ok=True)
        self.manifest = read_manifest(self.directory)
        self.begun = False
        foreign = [name for name in os.listdir(self.directory) if not _is_ours(name)]
        if self.manifest is None and foreign:
            raise ValueError(
                f"{directory} holds other files ({foreign[0]}, …) and no ensemble; choose a "
                f"directory of its own."
            )

    def plan(self, manifest):
        """Set the manifest that `begin` is to write."""
        self.manifest = {"format": FORMAT, "finished": False, "members": {}, **manifest}

    def begin(self):
        """Write the manifest, so that a directory that can't be written is found at once."""
        self._replace({**self.manifest, "finished": False})
        self._tidy()
        self.begun = True

    def get(self, key):
        """The content of a member's file, or None if it is not there yet."""
        name = self.manifest["members"].get(key)
        return None if name is None else _read(os.path.join(self.directory, name))

    def get_whole(self, key):
        """As `get`, but None also for a file that is missing or was damaged."""
        try:
            content = self.get(key)
        except FileNotFoundError:
            return None
        return content if content is not None and self.is_as_written(key, content) else None

    def is_as_written(self, key, content):
        """True if a member's file has the checksum that is in its name."""
        return self.manifest["members"][key] == _file_name(key, content)

    def put(self, key, content):
        """Write a member, and its name into the manifest."""
        name = self.add_file(key, content)
        self._replace({**self.manifest, "members": {**self.manifest["members"], key: name}})

    def is_whole(self):
        """True if the ensemble is trained, and all files are there as they were written."""
        members = self.manifest["members"]
        return self.manifest["finished"] and all(self.get_whole(key) is not None for key in members)

    def finish(self, changes):
        """Replace entries of the manifest, mark it as finished, remove members it does not name."""
        self._replace({"format": FORMAT, **(self.manifest or {}), **changes, "finished": True})
        self._tidy()

    def add_file(self, key, content):
        """Write a file that no manifest names yet; return its name."""
        name = _file_name(key, content)
        write_whole(os.path.join(self.directory, name), content)
        return name

    def _replace(self, manifest):
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        write_whole(os.path.join(self.directory, MANIFEST), text)
        self.manifest = manifest

    def _tidy(self):
        used = {MANIFEST, *self.manifest["members"].values()}
        for name in os.listdir(self.directory):
            if _is_ours(name) and name not in used:
                os.remove(os.path.join(self.directory, name))


@contextlib.contextmanager
def opened(directory):
    """The `Store` of a directory, which nobody else writes to while it is open; None for None.

    Raises:
        RuntimeError: If somebody else does.
        ValueError: As `Store`.
    """
    if directory is None:
        yield None
        return
    with _locked(Store(directory).directory):
        yield Store(directory)


def read_manifest(directory):
    """The manifest of a directory, or None if there is none.

    Raises:
        ValueError: If it can't be read, or is of a later version of kdl.
    """
    path = os.path.join(directory, MANIFEST)
    if not os.path.exists(path):
        return None
    try:
        manifest = json.loads(_read(path))
    except (OSError, ValueError, RecursionError) as error:
        raise manifest_error(directory, error) from error
    if isinstance(manifest, dict) and manifest.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{path} has format {manifest['format']!r}; this version of kdl reads format {FORMAT}. "
            f"Update kdl."
        )
    _check_manifest(manifest, directory)
    return manifest


def manifest_error(directory, error):
    """The ValueError of a manifest that is damaged, or of something else than an ensemble.

    Args:
        directory: The directory.
        error: The exception that was raised, or a text.
    """
    path = os.path.join(directory, MANIFEST)
    if not isinstance(error, str):
        error = f"{type(error).__name__}: {error}"
    return ValueError(
        f"{path} is not the manifest of an ensemble, or is damaged ({error.rstrip('.')}). Save the "
        f"ensemble anew, or choose another directory."
    )


def _check_manifest(manifest, directory):
    if not isinstance(manifest, dict):
        raise manifest_error(directory, f"it holds a {type(manifest).__name__}, no object")
    kinds = {"format": int, "class": str, "finished": bool, "members": dict}
    kinds |= {"arguments": dict, "parameters": dict, "seed": int}
    kinds |= {"state": dict} if manifest.get("finished") else {}
    for name, kind in kinds.items():
        value = manifest.get(name)
        if not isinstance(value, kind):
            article = f"a {kind.__name__}"
            raise manifest_error(directory, f"{name} must be {article}; it is {value!r}")
    for name in manifest["members"].values():
        if not isinstance(name, str) or not _MEMBER.fullmatch(name):
            raise manifest_error(directory, f"{name!r} is no file of a member")


@contextlib.contextmanager
def _locked(directory):
    """A lock that ends with the process, however it ends; on Windows there is none."""
    if fcntl is None:
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        # What else than a lock of somebody can be in the way: a network disk that has no locks.
        with contextlib.suppress(OSError):
            _lock(handle, directory)
        yield
    finally:
        os.close(handle)


def _lock(handle, directory):
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                break
            time.sleep(0.02)
    raise RuntimeError(
        f"Another fit or save is writing to {directory}. Wait until it has ended, or choose "
        f"another directory."
    )


def _file_name(key, content):
    return f"member-{key}-{hashlib.sha256(content).hexdigest()[:12]}.keras"


def _is_ours(name):
    """True for what a `Store` writes, and the drafts of it that a kill has left: no other file."""
    target = target_of(name) or name
    return target == MANIFEST or _MEMBER.fullmatch(target) is not None


def _read(path):
    with open(path, "rb") as file:
        return file.read()
