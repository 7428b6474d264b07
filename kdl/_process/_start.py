"""Starting and ending child processes."""

import json
import os
import pathlib
import signal
import subprocess
import sys

from kdl._child import BECOME, START_FILE
from kdl._process._module_paths import child_variables, module_places

_CHILD = str(pathlib.Path(__file__).resolve().parent.parent / "_child.py")


def ending_with_parent(command):
    """A command for another one that gets SIGTERM when this process has ended, on Linux.

    The thread that starts it must live as long.

    Args:
        command: List of words.
    """
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", _CHILD, BECOME, str(os.getpid()), *command]


def start_process(command, folder, variables, output, messages):
    """Start `kdl._child` with a command; a pipe from this process ends the child with it.

    Args:
        command: Name of a module or path of a script, and its arguments.
        folder: `ChildFolder` of the child.
        variables: Dict of environment variables to set.
        output: File or `subprocess.PIPE` for its standard output.
        messages: Path of the file for its standard error.

    Returns:
        `subprocess.Popen`.
    """
    with open(os.path.join(folder.path, START_FILE), "w") as file:
        json.dump(module_places(), file)
    group = {"process_group": 0} if hasattr(os, "killpg") else {}
    with open(messages, "w") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", _CHILD, folder.path, *command],
            env={**os.environ, "PYTHONFAULTHANDLER": "1", **variables, **child_variables(folder)},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            text=True,
            **group,
        )


def kill_process(process):
    """End a process and all that it has started."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def read_messages(path, begin=0):
    """Text of a file from a byte on."""
    with open(path, "rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")
