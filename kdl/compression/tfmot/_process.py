"""The process in which TensorFlow Model Optimization works: one a job, or one that is kept."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

_kept = None


@contextlib.contextmanager
def warm_process():
    """Within this context all work of `kdl.compression.tfmot` shares one TensorFlow process.

    Starting TensorFlow and TF-MOT takes some seconds, as often as a model is trained, asked or
    exported. The process starts with the first of these, and takes some 700 MB until the context
    ends. One that dies is replaced.

    Example:
        >>> with warm_process():
        ...     pass  # wrapped.fit(…); export_tflite(wrapped, …)
    """
    global _kept
    if _kept is not None:
        yield
        return
    _kept = _Process()
    try:
        yield
    finally:
        _kept.end()
        _kept = None


def run_job(job, arrays, see):
    """Carries out a job of `_worker`.

    Args:
        job: Dict for JSON.
        arrays: Dict: name → array, its data.
        see: Called with each event, a dict.

    Returns:
        Dict: name → array.

    Raises:
        ValueError: With the message of what was wrong.
        ImportError: If TensorFlow or TensorFlow Model Optimization is missing.
        RuntimeError: If the process ended.
    """
    process = _kept or _Process()
    with tempfile.TemporaryDirectory(prefix="kdl-tfmot-") as folder:
        job["arrays"] = os.path.join(folder, "arrays.npz")
        job["results"] = os.path.join(folder, "results.npz")
        np.savez(job["arrays"], **arrays)
        try:
            process.run(job, see)
        finally:
            if process is not _kept:
                process.end()
        with np.load(job["results"]) as results:
            return dict(results)


class _Process:
    """A worker, started when there is something to do."""

    def __init__(self):
        self.process = None

    def run(self, job, see):
        """Sends a job and shows what is answered, to the end."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        try:
            last = self._ask(job, see)
        except BaseException:  # its further answers would be taken for those of the next job
            self.process.kill()
            raise
        if last is None:
            raise RuntimeError(self._death())
        if last["event"] == "error":
            raise _error(last)

    def _ask(self, job, see):
        """The last answer to a job; None if the process ended before."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer["event"] in ("done", "error"):
                return answer
            see(answer)
        return None

    def end(self):
        """Ends the process, if there is one."""
        if self.process is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
            self.messages.close()
            self.process = None

    def _start(self):
        self.end()
        self.messages = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, see end()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kdl.compression.tfmot._worker"],
            env={
                **os.environ,
                "KERAS_BACKEND": "numpy",  # Keras 3 has nothing to do there
                "TF_USE_LEGACY_KERAS": "1",
                "TF_FORCE_GPU_ALLOW_GROWTH": "true",
                # Its kernels write past their buffers where NASNet's narrow convolutions train.
                "TF_ENABLE_ONEDNN_OPTS": "0",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
            text=True,
        )

    def _death(self):
        code = self.process.wait()
        self.messages.seek(0)
        lines = [line for line in self.messages.read().splitlines() if line.strip()]
        last = lines[-1] if lines else "it said nothing"
        return f"The TensorFlow process stopped with exit status {code}: {last[:600]}"


def _error(answer):
    message = answer["message"]
    if answer["type"] == "ImportError":
        return ImportError(
            f"TensorFlow Model Optimization is missing: pip install 'kdl[tfmot]' ({message})."
        )
    if answer["type"] == "ValueError":
        return ValueError(message)
    lines = " ".join(line.strip() for line in message.splitlines() if line.strip())
    return ValueError(f"TensorFlow Model Optimization failed ({answer['type']}): {lines[:600]}")
