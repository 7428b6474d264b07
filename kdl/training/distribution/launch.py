"""Starting the processes that train one model together, on PyTorch."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import keras

from kdl._process import ChildFolder, ending_with_parent, last_error_line, safe_command, signal_name
from kdl._signals import exit_on_signals
from kdl.ops.replicas import PEER_LOST

_GRACE = 3.0  # seconds that a process has to end by itself


def launches_processes() -> bool:
    """True if several devices need several processes, and this is not one of them."""
    return keras.backend.backend() == "torch" and "RANK" not in os.environ


def launch(command: Sequence[str], count: int, advice: str = "") -> None:
    """Runs a command as `count` processes of one job, and waits for them.

    The first one's output is shown, its errors and warnings at the end. If any process fails, all
    others are ended; so they are if this one is (by a signal or an exception; by SIGKILL on Linux).
    `python -m` and `python -c` are started without the current folder on their module path.

    Args:
        command: List of words.
        count: Number of processes.
        advice: Sentence on what to do after a process was ended by a signal, for the message.
            Defaults to none.

    Raises:
        RuntimeError: If a process failed; the message says which, and how.

    Example:
        >>> import sys
        >>> launch([sys.executable, "-c", "import os; assert os.environ['WORLD_SIZE'] == '2'"], 2)
    """
    processes, port = [], _free_port()
    with (
        exit_on_signals(),
        contextlib.closing(ChildFolder()) as folder,
        _ending(processes),
    ):
        logs = [os.path.join(folder.path, f"{number}.log") for number in range(count)]
        for number in range(count):
            processes.append(_start(command, number, count, port, logs[number]))
        if _wait(processes):
            _settle(processes)
            codes = [process.poll() for process in processes]
            _end(processes)
            raise RuntimeError(_explain(codes, [_last_line(log) for log in logs], advice))
        with open(logs[0], errors="replace") as file:
            sys.stderr.write(file.read())


@contextlib.contextmanager
def _ending(processes):
    """Ends the processes when this one is left, by an exception or a signal."""
    try:
        yield
    finally:
        _end(processes)


def _start(command, number, count, port, log):
    command, variables = safe_command(command)
    environment = {
        # Each process would take all cores for itself.
        "OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // count, 1)),
        **os.environ,
        **variables,
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with open(log, "w") as errors:
        shown = None if number == 0 else subprocess.DEVNULL
        return subprocess.Popen(
            ending_with_parent(command), env=environment, stdout=shown, stderr=errors
        )


def _wait(processes):
    """Wait; True if a process has failed, False when all have come to their end."""
    while True:
        codes = [process.poll() for process in processes]
        if any(codes):
            return True
        if all(code == 0 for code in codes):
            return False
        time.sleep(0.1)


def _settle(processes):
    """Lets the others fail by themselves, which tells the cause from its consequences."""
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.1)


def _end(processes):
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _explain(codes, lines, advice):
    """The failure of the process that did not fail for missing another; a signal first."""
    failed = [number for number, code in enumerate(codes) if code]
    number = min(failed, key=lambda number: (PEER_LOST in lines[number], codes[number]))
    code = codes[number]
    if code < 0:
        return (
            f"Process {number} of the training was ended by {signal_name(-code)}; the others were "
            f"ended, too. {advice}"
        ).rstrip()
    line = lines[number].removeprefix("error: ")
    return f"Process {number} of the training failed with exit status {code}: {line}"


def _last_line(log):
    with open(log, errors="replace") as file:
        return last_error_line(file.read())


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
