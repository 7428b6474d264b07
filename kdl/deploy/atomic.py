"""Files that are either written whole or not at all."""

import contextlib
import os


@contextlib.contextmanager
def temporary_beside(path):
    """A file name in the folder of `path`; a file of that name does not outlive the context."""
    folder, name = os.path.split(os.path.abspath(path))
    draft = os.path.join(folder, f".{name}.{os.getpid()}.part")
    try:
        yield draft
    finally:
        if os.path.exists(draft):
            os.remove(draft)


def write_whole(path, content):
    """Writes bytes to `path`; until all are on the disk, what stood there stays."""
    with temporary_beside(path) as draft:
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
