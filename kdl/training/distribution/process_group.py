"""Process group of PyTorch: the processes of `torchrun` or `kdl train --devices N`."""

import functools
import itertools
import os

_JOINED = itertools.count()  # groups of this process; alike in all processes of a job


def join_process_group():
    """Join the processes of this job, each with a GPU of its own where there are any.

    Raises:
        ValueError: If this machine has fewer GPUs than processes.
        RuntimeError: If the other processes are not found.
    """
    import torch
    from torch import distributed

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
    """The rendezvous of this job's processes, with the number of this one and their count.

    It outlives a group: a second one, such as that of a fine-tuning, would find what the first one
    left there, or nobody, if each made its own. So each group has names of its own in it.
    """
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://"))
