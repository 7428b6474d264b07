"""Starting the processes that train one model together, on PyTorch."""

import os
import signal
import socket
import subprocess
import tempfile
import time

import keras

_GRACE = 5.0  # seconds that a process has to end by itself


def launches_processes():
    """Whether several devices need several processes, and this is not one of them."""
    return keras.backend.backend() == "torch" and "RANK" not in os.environ


def launch(command, count):
    """Runs a command as `count` processes of one job, and waits for them.

    The first one's output is shown. If any process ends before its time, all others are ended.

    Args:
        command: List of words.
        count: Number of processes.

    Raises:
        RuntimeError: If a process failed; the message says which, and how.

    Example:
        >>> import sys
        >>> launch([sys.executable, "-c", "import os; assert os.environ['WORLD_SIZE'] == '2'"], 2)
    """
    with tempfile.TemporaryDirectory(prefix="kdl-launch-") as folder:
        logs = [os.path.join(folder, f"{number}.log") for number in range(count)]
        port = _free_port()
        processes = [_start(command, n, count, port, logs[n]) for n in range(count)]
        try:
            failed = _wait(processes)
        finally:
            _end(processes)
        if failed is not None:
            raise RuntimeError(_explain(failed, processes[failed].returncode, logs[failed]))


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
    """Number of the process that failed first, or None when all have come to their end."""
    while True:
        codes = [process.poll() for process in processes]
        failed = [number for number, code in enumerate(codes) if code]
        if failed:
            # The others fail when they miss one; a signal is nobody's consequence.
            return min(failed, key=lambda number: codes[number])
        if all(code == 0 for code in codes):
            return None
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


def _explain(number, code, log):
    if code < 0:
        return (
            f"Process {number} of the training was ended by {signal.Signals(-code).name}; the "
            f"others were ended, too. Run the same command again: it goes on after the last "
            f"finished epoch."
        )
    with open(log, errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    said = lines[-1].removeprefix("error: ") if lines else "it said nothing"
    return f"Process {number} of the training failed with exit status {code}: {said}"


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
