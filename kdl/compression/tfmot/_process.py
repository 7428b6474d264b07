"""Worker process of TensorFlow Model Optimization: one a job, or a warm one."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np

from kdl._process import SharedWorker, Worker, WorkerError


def _make(kept):
    variables = {
        "KERAS_BACKEND": "numpy",  # Keras 3 has nothing to do there
        "TF_USE_LEGACY_KERAS": "1",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        # Its kernels write past their buffers where NASNet's narrow convolutions train.
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    return Worker(
        "kdl.compression.tfmot._worker", variables=variables, what="The TensorFlow process"
    )


shared = SharedWorker(_make)


@contextlib.contextmanager
def warm_process() -> Iterator[None]:
    """Within this context all work of `kdl.compression.tfmot` shares one TensorFlow process.

    Starting TensorFlow and TF-MOT takes some seconds, as often as a model is trained, run or
    exported. The process starts with the first of these, and takes some 700 MB until the context
    ends. One that crashes is replaced.

    Example:
        >>> with warm_process():
        ...     pass  # wrapped.fit(…); export_tflite(wrapped, …)
    """
    with shared.keep():
        yield


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
    with shared.get() as worker, worker.folder() as folder:
        job["arrays"] = os.path.join(folder, "arrays.npz")
        job["results"] = os.path.join(folder, "results.npz")
        np.savez(job["arrays"], **arrays)
        try:
            worker.ask(job, see)
        except WorkerError as error:
            raise _error(error) from error
        with np.load(job["results"]) as results:
            return dict(results)


def _error(error):
    message = error.message
    if error.kind == "ImportError":
        return ImportError(
            f"TensorFlow Model Optimization is missing ({message}): pip install tensorflow "
            f"tensorflow-model-optimization==0.8.1 tf-keras"
        )
    if error.kind == "ValueError":
        return ValueError(message)
    lines = " ".join(line.strip() for line in message.splitlines() if line.strip())
    return ValueError(f"TensorFlow Model Optimization failed ({error.kind}): {lines[:600]}")
