"""Files that are either written whole or not at all."""

import contextlib
import errno
import functools
import hashlib
import math
import os
import re
import secrets
import shutil
import stat
import tempfile

from kdl._signals import exit_on_signals

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_LONGEST_NAME = 120  # bytes: a file name has 255, and a draft's name holds more than the target's
# `.NAME.MACHINE-PROCESS-RANDOM` and an ending.
_DRAFT = re.compile(r"(\..*\.)[0-9a-f]{8}-\d+-[0-9a-f]{8}\.\w+$")


@contextlib.contextmanager
def draft_of(path, suffix=".part"):
    """The name of a file to write beside `path`, which takes its place when the context ends well.

    Whatever ends the context otherwise, an exception, Ctrl-C or SIGTERM, removes the draft and
    leaves what stood at `path`. What a killed process has left is removed by the next draft of the
    same path. Each draft has a name of its own, so that threads and processes may write one path at
    the same time: the last one to end wins, with a whole file.

    A link is kept, and what it points to is replaced. The permissions of a file that is replaced
    are kept. Devices and pipes, such as `/dev/stdout`, are written when the draft is complete.

    Args:
        path: File to write; its folder must exist.
        suffix: Ending of the draft's name, for writers that go by it. Defaults to `".part"`.

    Raises:
        OSError: If the file cannot be written; the message names `path`.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "report.txt")
        ...     with draft_of(path) as draft, open(draft, "w") as file:
        ...         _ = file.write("whole")
        ...     os.listdir(folder)
        ['report.txt']
    """
    target = os.path.realpath(path)
    special = _is_special(path)
    folder = tempfile.gettempdir() if special else os.path.dirname(target)
    prefix = _draft_prefix(target)
    _remove_stale(folder, prefix)
    draft = os.path.join(folder, f"{prefix}{_owner()}{secrets.token_hex(4)}{suffix}")
    with exit_on_signals(), _errors_of(path, draft):
        try:
            yield draft
            _flush(draft)
            if special:
                _copy_into(draft, path)
            else:
                _keep_permissions(target, draft)
                os.replace(draft, target)
        finally:
            with contextlib.suppress(OSError):
                os.remove(draft)


def write_whole(path, content):
    r"""Writes bytes or text (as UTF-8) to `path`; what stood there stays until all is on the disk.

    Bytes of a file's name that are no UTF-8, which Python keeps as halves of surrogate pairs, are
    written as escape sequences such as `\udce9`, which in JSON mean the same.

    Args:
        path: File to write; its folder must exist.
        content: Bytes or a string.

    Raises:
        OSError: If the file cannot be written; the message names `path`.

    Example:
        >>> import pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "report.txt")
        ...     write_whole(path, "whole")
        ...     path.read_text()
        'whole'
    """
    content = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with draft_of(path) as draft:
        try:
            with open(draft, "wb") as file:
                file.write(content)
        except OSError as error:  # of a full disk, which names no file
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def check_writable(path):
    """Raises OSError, before long work is done, if no file can be written at `path`."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"Cannot write {path}: the folder {folder} does not exist.")
    if os.path.isdir(target):
        raise IsADirectoryError(f"Cannot write {path}: it is a folder; give a file name.")
    if _is_special(path):
        return
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"Cannot write {path}: {error.strerror}.") from error


def target_of(name):
    """The name of the file that a draft with this name is of; None for what is no draft.

    Args:
        name: Name of a file in a folder.

    Example:
        >>> target_of(".report.txt.0123abcd-12-0123abcd.part")
        'report.txt'
    """
    draft = _DRAFT.match(name)
    return draft[1][1:-1] if draft else None


@contextlib.contextmanager
def only_user_of(folder):
    """Within it nobody else can be the only user of a folder; the system knows when a process ends.

    Where a system or its disk has no locks, everybody can.

    Args:
        folder: A folder; nothing is written there.

    Raises:
        BlockingIOError: If another process, or another part of this one, is it.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "In use by another process", folder) from error
        except OSError:
            pass  # a disk without locks
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # processes that were forked have the handle, too
        os.close(handle)


def check_space(path, variables):
    """Raises OSError if the disk of `path` has no room for a file of `variables`.

    HDF5, which writes Keras's files, can end the whole process when a disk is full.

    Args:
        path: File or folder that is about to be written.
        variables: The variables that go into it.

    Raises:
        OSError: With `errno.ENOSPC`, if there is too little room.
    """
    folder = os.path.dirname(os.path.abspath(path))
    needed = sum(4 * math.prod(variable.shape) + 4096 for variable in variables)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"Cannot write {path}: it needs {needed / 2**20:.1f} MiB, the disk has "
            f"{free / 2**20:.1f} MiB left. Make room and start again",
        )


def _is_special(path):
    """Tell if a path is a device or a pipe, which no other file may replace."""
    if not os.path.exists(path) or os.path.isdir(path):
        return False
    # What the output is sent to may be a file, which `/dev/stdout` goes on writing.
    place = os.path.abspath(path)
    stream = place.startswith(("/dev/", "/proc/")) and not place.startswith("/dev/shm/")
    return stream or not os.path.isfile(path)


def _draft_prefix(target):
    name = os.path.basename(target)
    of_a_draft = _DRAFT.match(name)
    if of_a_draft:  # found again by the next draft of the file itself
        return of_a_draft[1]
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}."


def _owner():
    return f"{_machine()}-{os.getpid()}-"


@functools.cache
def _machine():
    """Identity of this machine or container among those that share a disk."""
    place = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    with contextlib.suppress(OSError):
        place += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def _remove_stale(folder, prefix):
    """Removes drafts of the same file whose processes have ended."""
    pattern = re.compile(rf"{re.escape(prefix + _machine())}-(\d+)-[0-9a-f]{{8}}\.")
    try:
        names = os.listdir(folder)
    except OSError:
        return  # writing the draft tells why
    for name in names:
        match = pattern.match(name)
        if match and not _is_running(int(match[1])):
            with contextlib.suppress(OSError):
                os.remove(os.path.join(folder, name))


def _is_running(number):
    if os.name == "nt":  # there a signal 0 would end it
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def _errors_of(path, draft):
    """Errors that name the file which was asked for, and not its draft."""
    try:
        yield
    except OSError as error:
        if error.filename != draft:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _flush(draft):
    """Waits until the disk has the draft, whoever has written it."""
    with open(draft, "rb+") as file:
        os.fsync(file.fileno())


def _copy_into(draft, path):
    with open(draft, "rb") as source, open(path, "wb") as sink:
        shutil.copyfileobj(source, sink)


def _keep_permissions(target, draft):
    with contextlib.suppress(FileNotFoundError):
        os.chmod(draft, stat.S_IMODE(os.stat(target).st_mode))
