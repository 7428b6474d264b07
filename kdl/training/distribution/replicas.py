"""Data-parallel training by several processes, on PyTorch.

Keras has no distribution on PyTorch, and PyTorch's `DistributedDataParallel` works on a module that
is called through it, which Keras's training step does not do. So `fit` itself is patched for as
long as the context lasts: each process gets its part of every batch, its loss counts as much as it
has samples, the gradients are added up in one all-reduce before the optimizer sees them, and the
first process alone prints and writes. In `evaluate` each process computes all of it.
"""

import contextlib
import functools
import inspect
import os

import keras

from kdl.ops.replicas import replica_number, whole_batches
from kdl.training.distribution.patched import patched
from kdl.training.distribution.process_group import join_process_group
from kdl.training.distribution.replica_data import split_validation, take_part
from kdl.training.distribution.synchronized_callbacks import synchronized_callbacks
from kdl.training.distribution.synchronized_step import (
    BatchShare,
    summed_losses,
    synchronized_step,
)


@contextlib.contextmanager
def replicas():
    """Joins the processes of `torchrun` or of `kdl train --devices N`; within it they train as one.

    A process that was started alone is a single process, for which nothing changes.

    Yields:
        Number of processes.

    Raises:
        RuntimeError: If the other processes are not found.
    """
    from torch import distributed

    joins = "RANK" in os.environ and not distributed.is_initialized()
    if joins:
        join_process_group()
    count = distributed.get_world_size() if distributed.is_initialized() else 1
    # Within another such context `fit` is patched already: twice, it would take parts of parts.
    alone = count == 1 or hasattr(keras.Model.fit, "of_processes")
    with contextlib.nullcontext() if alone else _patched_methods(count):
        try:
            yield count
        finally:
            if joins:
                distributed.destroy_process_group()


@contextlib.contextmanager
def _patched_methods(count):
    """Within it `fit` is that of one of `count` processes, `evaluate` that of a single process."""
    with (
        patched(keras.Model, "fit", _patched_fit(keras.Model.fit, count)),
        patched(keras.Model, "evaluate", whole_batches()(keras.Model.evaluate)),
    ):
        yield


def _patched_fit(fit, count):
    """`fit` as one of `count` processes."""

    @functools.wraps(fit)
    def patched_fit(model, *args, **kwargs):
        if not model.compiled:
            return fit(model, *args, **kwargs)  # which raises the error
        call = inspect.signature(fit).bind(model, *args, **kwargs)
        call.apply_defaults()
        arguments = call.arguments
        arguments.pop("self")
        split_validation(arguments)
        take_part(arguments, count)
        progress = BatchShare(summed_losses(model))
        arguments["callbacks"] = synchronized_callbacks(arguments["callbacks"], progress)
        if replica_number():
            arguments["verbose"] = 0
        with synchronized_step(model, progress):
            return fit(model, **arguments)

    patched_fit.of_processes = count
    return patched_fit
