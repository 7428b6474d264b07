"""Running a module or a script in a child process, to its end."""

import contextlib
import os
import subprocess

from kdl._process._child_folder import ChildFolder
from kdl._process._start import kill_process, read_messages, start_process
from kdl._signals import exit_on_signals


class Finished:
    """The end of a child process.

    Attributes:
        code: Exit status, negative for a signal; None if it took too long and was ended.
        output: What it printed.
        messages: What it printed as errors.
    """

    def __init__(self, code, output, messages):
        self.code, self.output, self.messages = code, output, messages


def run_child(target, arguments=(), variables=None, timeout=None):
    """Runs a module or a script in a child process, to its end.

    Args:
        target: Name of a module with a function `main(folder, *arguments)`, or path of a script.
        arguments: Its arguments, passed as strings.
        variables: Environment variables to set.
        timeout: Seconds after which it is ended. Defaults to None: it may take any time.

    Returns:
        `Finished`.
    """
    with exit_on_signals(), contextlib.closing(ChildFolder()) as folder:
        names = [os.path.join(folder.path, name) for name in ("output", "messages")]
        command = (os.fspath(target), *map(str, arguments))
        with open(names[0], "w") as output:
            process = start_process(command, folder, variables or {}, output, names[1])
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            kill_process(process)
            process.stdin.close()
        return Finished(code, *map(read_messages, names))
