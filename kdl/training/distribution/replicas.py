"""Processes that train one model together, on PyTorch.

Keras has no distribution on PyTorch, and PyTorch's `DistributedDataParallel` works on a module that
is called through it, which Keras's training step does not do. So `fit` itself is led here for as
long as the context lasts: each process gets its part of every batch, its loss counts as much as it
has samples, the gradients are added up in one all-reduce before the optimizer sees them, and the
first process alone prints and writes. What `evaluate` does each process does whole.
"""

import contextlib
import functools
import inspect
import itertools
import os

import keras
import numpy as np

from kdl.ops.replicas import replica_number, torch_reduced, whole_batches
from kdl.training.callbacks.backup import Backup
from kdl.training.distribution.batch_parts import BatchParts

_JOINED = itertools.count()  # groups of this process; alike in all processes of a job

_WRITERS = (keras.callbacks.ModelCheckpoint, keras.callbacks.CSVLogger, keras.callbacks.TensorBoard)


@contextlib.contextmanager
def replicas():
    """Joins the processes of `torchrun` or of `kdl train --devices N`; within it they train as one.

    A process that was started alone is one of one, for which nothing changes.

    Yields:
        Number of processes.

    Raises:
        RuntimeError: If the other processes are not found.
    """
    from torch import distributed

    joins = "RANK" in os.environ and not distributed.is_initialized()
    if joins:
        _join(distributed)
    count = distributed.get_world_size() if distributed.is_initialized() else 1
    with _leading(count) if count > 1 else contextlib.nullcontext():
        try:
            yield count
        finally:
            if joins:
                distributed.destroy_process_group()


@contextlib.contextmanager
def _leading(count):
    """Within it `fit` is that of one of `count` processes, and `evaluate` that of one alone."""
    with (
        _replaced(keras.Model, "fit", _led(keras.Model.fit, count)),
        _replaced(keras.Model, "evaluate", whole_batches()(keras.Model.evaluate)),
    ):
        yield


@contextlib.contextmanager
def _replaced(owner, name, value):
    """Within it `owner` has another attribute; afterwards its own again, or the inherited one."""
    own = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def _join(distributed):
    import torch

    accelerated, number = torch.cuda.is_available(), int(os.environ.get("LOCAL_RANK", "0"))
    if accelerated:
        if number >= torch.cuda.device_count():
            raise ValueError(
                f"This is process {number} of this machine, which has {torch.cuda.device_count()} "
                f"GPUs. Start as many processes as there are GPUs."
            )
        torch.cuda.set_device(number)
    try:
        store, rank, count = _store()
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if accelerated else "gloo",
            store=distributed.PrefixStore(f"kdl-{next(_JOINED)}", store),
            rank=rank,
            world_size=count,
        )
    except (RuntimeError, ValueError) as error:
        raise RuntimeError(
            f"This process does not find the others of its job: {error}. Start all of them by "
            f"`kdl train --devices N` or `torchrun --nproc-per-node N`."
        ) from error


@functools.cache
def _store():
    """Where the processes of this job find each other, with this one's number and their count.

    It outlives a group: a second one, such as that of a fine-tuning, would find what the first one
    left there, or nobody, if each made its own. So each group has names of its own in it.
    """
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://"))


def _led(fit, count):
    """`fit` as one of `count` processes."""

    @functools.wraps(fit)
    def led(model, *args, **kwargs):
        if not model.compiled:
            return fit(model, *args, **kwargs)  # which says so
        call = inspect.signature(fit).bind(model, *args, **kwargs)
        call.apply_defaults()
        arguments = call.arguments
        arguments.pop("self")
        _split_validation(arguments)
        _take_part(arguments, count)
        progress = _Progress(_summed_losses(model))
        arguments["callbacks"] = _callbacks(arguments["callbacks"], progress)
        if replica_number():
            arguments["verbose"] = 0
        with _as_one(model, progress):
            return fit(model, **arguments)

    return led


def _split_validation(arguments):
    """Does what `validation_split` asks for, which counts the samples of all processes."""
    share = arguments.pop("validation_split")
    if not share or arguments["validation_data"] is not None:
        return
    if not all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(arguments["x"])):
        raise ValueError("validation_split splits arrays; give validation_data beside a dataset.")
    names = [name for name in ("x", "y", "sample_weight") if arguments[name] is not None]
    whole = [arguments[name] for name in names]
    first = int(len(keras.tree.flatten(whole)[0]) * (1 - share))
    arguments["validation_data"] = tuple(_rows(whole, slice(first, None)))
    arguments.update(zip(names, _rows(whole, slice(first)), strict=True))


def _rows(arrays, rows):
    return keras.tree.map_structure(lambda a: a[rows], arrays)


def _take_part(arguments, count):
    """Puts this process's part of every batch in the place of the data."""
    from torch.utils.data import DataLoader

    x = arguments["x"]
    arguments["validation_batch_size"] = (
        arguments["validation_batch_size"] or arguments["batch_size"]
    )
    if isinstance(x, DataLoader):
        _check_length(len(x), count)
        return  # with a sampler of the user's, as PyTorch's habit is
    arguments["x"] = BatchParts(
        x,
        arguments["y"],
        arguments["sample_weight"],
        arguments["batch_size"],
        arguments["shuffle"],
        number=replica_number(),
        count=count,
        seed=_common_seed(),
    )
    arguments.update(y=None, sample_weight=None, batch_size=None, shuffle=False)


def _check_length(batches, count):
    """All processes must have as many batches, or some would wait for others for ever."""
    import torch

    total, squares = torch_reduced(torch.tensor([batches, batches**2])).tolist()
    if count * squares != total**2:
        raise ValueError(
            f"The DataLoader of this process has {batches} batches, that of another has more or "
            f"fewer. Give it a DistributedSampler, or drop_last=True."
        )


def _summed_losses(model):
    """The model's losses that are sums over samples; the others are means.

    Raises:
        ValueError: If they are something else, for which parts of a batch have no known weight.
    """
    losses = [loss for loss in keras.tree.flatten(model.loss) if hasattr(loss, "reduction")]
    known = ("sum", "sum_over_batch_size", "mean")
    others = sorted({str(loss.reduction) for loss in losses if loss.reduction not in known})
    if others:
        raise ValueError(
            f"On several processes each loss must be a mean over samples, or a sum; received the "
            f"reduction {', '.join(others)}."
        )
    return [loss for loss in losses if loss.reduction == "sum"]


def _common_seed():
    """A number that the first process has drawn."""
    import torch

    drawn = np.random.randint(2**31) if replica_number() == 0 else 0
    return int(torch_reduced(torch.tensor(drawn)))


def _callbacks(given, progress):
    """The callbacks of this process: the first one has all, the others those that do not write."""
    given = [] if given is None else keras.tree.flatten(given)
    for callback in given:
        if not isinstance(callback, keras.callbacks.BackupAndRestore):
            continue
        if not isinstance(callback, Backup) or callback.number != replica_number():
            raise ValueError(
                "Several processes would write the same backup. Use kdl.training.Backup, and make "
                "it inside of kdl.training.distribute."
            )
    if replica_number():
        given = [callback for callback in given if not isinstance(callback, _WRITERS)]
    return [_CommonLogs(progress), *given, _CommonState()]


class _Progress:
    """This process's share of the present batch, and its samples in this epoch.

    Args:
        summed: The losses that are sums over samples.
    """

    def __init__(self, summed=()):
        self.summed = summed
        self.share, self.epoch = 1.0, 0

    def count(self, samples):
        """Takes note of a batch."""
        import torch

        self.epoch += samples
        self.share = samples / float(torch_reduced(torch.tensor(float(samples))))

    def as_mean(self, call):
        """`Loss.__call__` whose sums are, like means, those of a whole batch of such samples."""

        @functools.wraps(call)
        def called(loss, *args, **kwargs):
            value = call(loss, *args, **kwargs)
            return value / self.share if any(loss is other for other in self.summed) else value

        return called


class _CommonLogs(keras.callbacks.Callback):
    """Averages what the processes logged, before any other callback sees it."""

    def __init__(self, progress):
        super().__init__()
        self.progress = progress

    def on_epoch_begin(self, epoch, logs=None):
        self.progress.epoch = 0

    def on_epoch_end(self, epoch, logs=None):
        import torch

        # What was validated was validated whole in each process; the rest on its samples.
        weights = [1 if name.startswith("val_") else self.progress.epoch for name in logs]
        values = [
            float(value) * weight for value, weight in zip(logs.values(), weights, strict=True)
        ]
        sums = torch_reduced(torch.tensor([values, weights], dtype=torch.float64))
        logs.update(zip(logs, (sums[0] / sums[1]).tolist(), strict=True))


class _CommonState(keras.callbacks.Callback):
    """Gives all processes the variables of the first one, after other callbacks set them.

    If a callback of one process stops the training, all stop.
    """

    def on_train_batch_end(self, batch, logs=None):
        self._stop_together()

    def _stop_together(self):
        import torch

        stops = torch_reduced(torch.tensor(int(self.model.stop_training)))
        self.model.stop_training = bool(stops)

    def on_train_begin(self, logs=None):
        _broadcast([*self.model.variables, *self.model.optimizer.variables])

    def on_test_begin(self, logs=None):
        _broadcast(self.model.non_trainable_variables)

    def on_epoch_end(self, epoch, logs=None):
        self._stop_together()
        _broadcast(self.model.non_trainable_variables)


def _broadcast(variables):
    from torch import distributed

    for variable in variables:
        distributed.broadcast(variable.value.data, 0)


@contextlib.contextmanager
def _as_one(model, progress):
    """Within it each step follows the loss of all processes' samples."""
    optimizer = model.optimizer
    step, scale_loss, apply = model.train_step, optimizer.scale_loss, optimizer.apply

    def counted_step(data):
        progress.count(len(next(x for x in keras.tree.flatten(data) if x is not None)))
        try:
            return step(data)
        finally:
            progress.share = 1.0  # validation sees whole batches

    def weighted_loss(loss):
        # Before the backward pass: norms that see all samples carry gradients between processes.
        return scale_loss(loss) * progress.share

    def summed_apply(grads, trainable_variables):
        return apply(_summed(grads, trainable_variables), trainable_variables)

    loss_call = progress.as_mean(keras.losses.Loss.__call__)
    with (
        _replaced(model, "train_step", counted_step),
        _replaced(optimizer, "scale_loss", weighted_loss),
        _replaced(optimizer, "apply", summed_apply),
        _replaced(keras.losses.Loss, "__call__", loss_call),
    ):
        yield


def _summed(gradients, variables):
    """The gradients' sum over the processes, by one all-reduce; values that overwrite: the mean."""
    import torch
    from torch import distributed

    shares = [
        1 / distributed.get_world_size() if v.overwrite_with_gradient else 1 for v in variables
    ]
    known = [(g, share) for g, share in zip(gradients, shares, strict=True) if g is not None]
    total = torch_reduced(torch.cat([g.reshape(-1).float() * share for g, share in known]))
    parts = torch.split(total, [g.numel() for g, _ in known])
    sums = iter(p.reshape(g.shape).to(g.dtype) for p, (g, _) in zip(parts, known, strict=True))
    return [None if g is None else next(sums) for g in gradients]
