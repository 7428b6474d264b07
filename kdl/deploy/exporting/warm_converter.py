"""The TensorFlow process that converts: a new one for each export, or one that is kept."""

import contextlib
import os
from collections.abc import Iterator

from kdl._process import SharedWorker, Worker


def _make(kept):
    """A process that converts; one that is kept forks for each job."""
    variables = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    if kept:
        # One thread at the time of the fork, which would take no other along.
        variables |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    arguments = ["--keep"] if kept else []
    return Worker("kdl.deploy.exporting._worker", arguments, variables, "The export process")


shared = SharedWorker(_make)


@contextlib.contextmanager
def warm_converter() -> Iterator[None]:
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
    if not hasattr(os, "fork"):
        yield
        return
    with shared.keep():
        yield
