"""Starting the processes that train one model together, on PyTorch."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import keras

from kdl.ops.replicas import PARTED

_GRACE = 3.0  # seconds that a process has to end by itself


def launches_processes():
    """Whether several devices need several processes, and this is not one of them."""
    return keras.backend.backend() == "torch" and "RANK" not in os.environ


def launch(command, count):
    """Runs a command as `count` processes of one job, and waits for them.

    The first one's output is shown, its errors and warnings at the end. If any process fails, all
    others are ended; so they are if this one is (by SIGTERM or an exception).

    Args:
        command: List of words.
        count: Number of processes.

    Raises:
        RuntimeError: If a process failed; the message says which, and how.

    Example:
        >>> import sys
        >>> launch([sys.executable, "-c", "import os; assert os.environ['WORLD_SIZE'] == '2'"], 2)
    """
    processes, port = [], _free_port()
    with tempfile.TemporaryDirectory(prefix="kdl-launch-") as folder, _ending(processes):
        logs = [os.path.join(folder, f"{number}.log") for number in range(count)]
        for number in range(count):
            processes.append(_start(command, number, count, port, logs[number]))
        if _wait(processes):
            _settle(processes)
            codes = [process.poll() for process in processes]
            _end(processes)
            raise RuntimeError(_explain(codes, [_last_line(log) for log in logs]))
        with open(logs[0], errors="replace") as file:
            sys.stderr.write(file.read())


@contextlib.contextmanager
def _ending(processes):
    """Ends the processes when this one is left, by an exception or by SIGTERM."""

    def leave(number, frame):
        sys.exit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, leave) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
        _end(processes)


def _start(command, number, count, port, log):
    environment = {
        # Each process would take all cores for itself.
        "OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // count, 1)),
        **os.environ,
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with open(log, "w") as errors:
        shown = None if number == 0 else subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, stdout=shown, stderr=errors)


def _wait(processes):
    """Whether a process has failed; False when all have come to their end."""
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


def _explain(codes, said):
    """What happened, by the process that did not fail for missing another; a signal first."""
    failed = [number for number, code in enumerate(codes) if code]
    number = min(failed, key=lambda number: (PARTED in said[number], codes[number]))
    code = codes[number]
    if code < 0:
        return (
            f"Process {number} of the training was ended by {signal.Signals(-code).name}; the "
            f"others were ended, too. Run the same command again: it goes on after the last "
            f"finished epoch."
        )
    said = said[number].removeprefix("error: ") or "it said nothing"
    return f"Process {number} of the training failed with exit status {code}: {said}"


def _last_line(log):
    with open(log, errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1] if lines else ""


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
