"""Training step of several processes: the loss and the gradients of all samples.

Each process's loss counts as much as it has samples, and the gradients are added up in one
all-reduce before the optimizer sees them.
"""

import contextlib
import functools

import keras

from kdl.ops.replicas import torch_reduced
from kdl.training.distribution.patched import patched


class BatchShare:
    """This process's share of the present batch, and its samples in this epoch.

    Args:
        summed: The losses that are sums over samples.
    """

    def __init__(self, summed=()):
        self.summed = summed
        self.share, self.samples = 1.0, 0

    def count(self, samples):
        """Count a batch."""
        import torch

        self.samples += samples
        self.share = samples / float(torch_reduced(torch.tensor(float(samples))))

    def as_mean(self, call):
        """`Loss.__call__` whose sums are, like means, those of a whole batch of such samples."""

        @functools.wraps(call)
        def called(loss, *args, **kwargs):
            value = call(loss, *args, **kwargs)
            return value / self.share if any(loss is other for other in self.summed) else value

        return called


def summed_losses(model):
    """The model's losses that are sums over samples; the others are means.

    Raises:
        ValueError: If they are something else, for which parts of a batch have no known weight.
    """
    losses = [loss for loss in keras.tree.flatten(model.loss) if hasattr(loss, "reduction")]
    supported = ("sum", "sum_over_batch_size", "mean")
    others = sorted({str(loss.reduction) for loss in losses if loss.reduction not in supported})
    if others:
        raise ValueError(
            f"On several processes each loss must be a mean over samples, or a sum; received the "
            f"reduction {', '.join(others)}."
        )
    return [loss for loss in losses if loss.reduction == "sum"]


@contextlib.contextmanager
def synchronized_step(model, progress):
    """Within it each step of `model` follows the loss of all processes' samples."""
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
        return apply(_summed_gradients(grads, trainable_variables), trainable_variables)

    loss_call = progress.as_mean(keras.losses.Loss.__call__)
    with (
        patched(model, "train_step", counted_step),
        patched(optimizer, "scale_loss", weighted_loss),
        patched(optimizer, "apply", summed_apply),
        patched(keras.losses.Loss, "__call__", loss_call),
    ):
        yield


def _summed_gradients(gradients, variables):
    """The gradients' sum over the processes, by one all-reduce; values that overwrite: the mean."""
    import torch
    from torch import distributed

    shares = [
        1 / distributed.get_world_size() if v.overwrite_with_gradient else 1 for v in variables
    ]
    pairs = [(g, share) for g, share in zip(gradients, shares, strict=True) if g is not None]
    wide = functools.reduce(torch.promote_types, [g.dtype for g, _ in pairs], torch.float32)
    total = torch_reduced(torch.cat([g.reshape(-1).to(wide) * share for g, share in pairs]))
    parts = torch.split(total, [g.numel() for g, _ in pairs])
    sums = iter(p.reshape(g.shape).to(g.dtype) for p, (g, _) in zip(parts, pairs, strict=True))
    return [None if g is None else next(sums) for g in gradients]
