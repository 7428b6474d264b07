"""The TensorFlow process that converts: a new one for each export, or one that is kept."""

import contextlib
import json
import os
import subprocess
import sys

_kept = None


@contextlib.contextmanager
def warm_converter():
    """Exports within this context share a TensorFlow process, which starts with the first of them.

    Starting TensorFlow takes most of the time in which a small network is exported. Each conversion
    is a fork of the process that is kept: nothing that one does reaches the next, and one that dies
    leaves the others alone. The process takes some 500 MB until the context ends. Where processes
    cannot fork (Windows) each export starts its own, as it does outside of this context.

    Example:
        >>> import keras, os, tempfile
        >>> from kdl.deploy import export_tflite
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        >>> with warm_converter(), tempfile.TemporaryDirectory() as folder:
        ...     for kind in ("float32", "float16"):
        ...         path = os.path.join(folder, f"{kind}.tflite")
        ...         print(export_tflite(model, path, kind).passed)
        True
        True
    """
    global _kept
    if _kept is not None or not hasattr(os, "fork"):
        yield
        return
    _kept = _KeptProcess()
    try:
        yield
    finally:
        _kept.end()
        _kept = None


def run_worker(job_file):
    """Carries out a job of `kdl.deploy.conversion`; returns how the process ended."""
    return (_kept and _kept.run(job_file)) or _run_alone(job_file)


def _run_alone(job_file):
    return subprocess.run(
        _command(job_file),
        env=_environment(),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _command(*arguments):
    return [sys.executable, "-m", "kdl.deploy._worker", *arguments]


def _environment():
    return {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


class _KeptProcess:
    """A process that has imported TensorFlow, and forks for each job."""

    def __init__(self):
        self._process = None

    def run(self, job_file):
        """How the fork for a job ended, or None if there is no process that could fork."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        messages = f"{job_file}.messages"
        job = {"job": job_file, "messages": messages, "path": sys.path, "folder": os.getcwd()}
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            code = self._process.stdout.readline()
        except BrokenPipeError:
            return None
        except BaseException:  # its answer would be taken for that of the next job
            self._process.kill()
            self._process.wait()
            raise
        if not code:
            return None
        with open(messages, errors="replace") as file:
            return subprocess.CompletedProcess([], int(code), "", file.read())

    def end(self):
        """Ends the process, if there is one."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()

    def _start(self):
        self.end()
        self._process = subprocess.Popen(
            _command("--keep"),
            # One thread at the time of the fork, which would take no other along.
            env={**_environment(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
