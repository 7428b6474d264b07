"""Room on the disk, looked for before a file is begun."""

import errno
import math
import os
import shutil


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
