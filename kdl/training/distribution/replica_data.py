"""Each process's part of the data that `fit` is given."""

import keras
import numpy as np

from kdl.ops.replicas import replica_number, torch_reduced
from kdl.training.distribution.batch_parts import BatchParts


def split_validation(arguments):
    """Replace `validation_split` in the arguments of `fit`: it counts samples of all processes."""
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


def take_part(arguments, count):
    """Replace the data in the arguments of `fit` by this process's part of every batch."""
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


def _rows(arrays, rows):
    return keras.tree.map_structure(lambda a: a[rows], arrays)


def _check_length(batches, count):
    """All processes must have as many batches, or some would wait for others for ever."""
    import torch

    total, squares = torch_reduced(torch.tensor([batches, batches**2])).tolist()
    if count * squares != total**2:
        raise ValueError(
            f"The DataLoader of this process has {batches} batches, that of another has more or "
            f"fewer. Give it a DistributedSampler, or drop_last=True."
        )


def _common_seed():
    """A random number drawn by the first process."""
    import torch

    drawn = np.random.randint(2**31) if replica_number() == 0 else 0
    return int(torch_reduced(torch.tensor(drawn)))
