"""Temporary folder of a child process, removed however the process ends."""

import contextlib
import os
import shutil
import tempfile

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]


_PREFIX = "kdl-process-"


class ChildFolder:
    """A folder for child processes and their temporary files.

    A lock says that it is in use, which the system takes away when this process has ended; each new
    folder removes those without an owner.

    Attributes:
        path: The folder.
    """

    def __init__(self):
        _remove_abandoned()
        self._lock = None
        while self._lock is None:
            self.path = tempfile.mkdtemp(prefix=_PREFIX)
            self._lock = _lock(self.path)  # None if it was taken for abandoned just now
        self.temporary = os.path.join(self.path, "tmp")
        os.mkdir(self.temporary)

    def remove(self):
        """Removes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock:
            os.close(self._lock)
            self._lock = 0

    close = remove


def _lock(folder):
    """Lock a folder; 0 where there are no locks, None if somebody else has it."""
    if fcntl is None:
        return 0
    try:
        handle = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:  # a disk that has no locks
        os.close(handle)
        return 0
    return handle


def _remove_abandoned():
    """Remove folders whose processes were killed."""
    if fcntl is None:
        return
    root = tempfile.gettempdir()
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and _is_ours(entry):
                lock = os.path.exists(os.path.join(entry.path, "lock")) and _lock(entry.path)
                if lock:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(lock)


def _is_ours(entry):
    folder = entry.is_dir(follow_symlinks=False)
    return folder and entry.stat(follow_symlinks=False).st_uid == os.getuid()
