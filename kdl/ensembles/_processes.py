"""Processes that train members side by side.

Keras is not imported here, so that they start bare.
"""

import contextlib
import os
import shutil
import sys
import threading
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess

from kdl._checks import is_integer
from kdl._child import use_modules
from kdl._process import ChildFolder, child_variables, module_places
from kdl._signals import exit_on_signals


@contextlib.contextmanager
def as_executor(executor, backend):
    """The executor to use, or None for this process itself.

    Args:
        executor: None, a number of processes, or what has `submit`.
        backend: Name of Keras's backend in processes that are started.

    Raises:
        ValueError: If it is none of these.
    """
    if executor is None or isinstance(executor, Executor):
        yield executor
    elif is_integer(executor) and executor > 0:
        with exit_on_signals(), contextlib.closing(ChildFolder()) as folder:
            variables = environment(executor, backend) | child_variables(folder)
            with _variables(child_variables()):  # making it may start a process for its locks
                pool = ProcessPoolExecutor(executor, mp_context=_Context(variables, folder.path))
            try:
                yield pool
            finally:
                pool.shutdown(cancel_futures=True)
    else:
        raise ValueError(
            f"executor must be None, a positive number of processes, or a "
            f"concurrent.futures.Executor; received {executor!r}."
        )


def environment(count, backend):
    """Variables for each of `count` processes, so that they share the cores, not fight for them.

    What the user has set stays, but for the backend.
    """
    threads = max(_cores() // count, 1)
    limits = dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "TF_NUM_INTRAOP_THREADS",
            "TF_NUM_INTEROP_THREADS",
        ),
        str(threads),
    )
    if backend == "jax" and threads == 1:
        limits["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return {**limits, **{k: os.environ[k] for k in limits if k in os.environ}} | {
        "KERAS_BACKEND": backend
    }


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Context(SpawnContext):
    """Spawned processes, each with the variables from its first moment.

    An initialiser of the pool would come too late: by then the process has imported the main
    script, and with it perhaps a backend, which has counted its threads.
    """

    def __init__(self, variables, folder):
        super().__init__()
        self.variables, self.folder = variables, folder

    def Process(self, *args, **kwargs):
        process = _Process(*args, **kwargs)
        process.variables, process.folder = self.variables, self.folder
        return process


class _Process(SpawnProcess):
    def start(self):
        self.places = module_places()
        with _variables(self.variables), _path(self.places["path"]):
            super().start()

    def run(self):
        use_modules(**self.places)
        threading.Thread(target=_end_with_parent, args=(self.folder,), daemon=True).start()
        super().run()


def _end_with_parent(folder):
    """Ends a process of the pool, which would wait for ever if the one that asks was killed."""
    parent_process().join()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


@contextlib.contextmanager
def _path(path):
    """Within it a process that is spawned gets this `sys.path`."""
    before, sys.path = sys.path, path
    try:
        yield
    finally:
        sys.path = before


@contextlib.contextmanager
def _variables(values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
