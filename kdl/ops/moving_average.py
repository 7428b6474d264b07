"""Normalization by moving averages, in the forward and in the backward pass."""

from collections.abc import Sequence

from keras import ops

from kdl._typing import Tensor
from kdl.ops.replicas import batch_total


def mean_over(
    x: Tensor, axes: Sequence[int], synchronized: bool = False, axis_name: str | None = None
) -> tuple[Tensor, Tensor]:
    """Mean over some axes, `(C,)`, and over all replicas if `synchronized`; and their count.

    Without any number the mean is 0.
    """
    sums = ops.sum(x, axes)
    count = ops.cast(ops.size(x), sums.dtype) / sums.shape[0]
    if synchronized:
        total = batch_total(ops.append(sums, count), axis_name)
        sums, count = total[:-1], total[-1]
    return sums / ops.maximum(count, 1.0), count


def averaged_normalize(
    x: Tensor,
    inverse: Tensor,
    ring: Tensor,
    slot: Tensor,
    averages: Tensor,
    axes: Sequence[int],
    synchronized: bool = False,
    axis_name: str | None = None,
) -> Tensor:
    """`z = x · inverse`, whose gradient takes the mean of `g · z` from the last batches.

    With `g = ∂L/∂z` and `Ψ` its product with `z`, averaged over the batch,

        ∂L/∂x = inverse · (g − z · Ψ̄)

    where `Ψ̄` is the mean of the ring's rows once this batch's `Ψ` stands in its slot, or `Ψ` as
    long as `averages` is 0. An empty batch leaves the ring. The new ring is handed out as the
    "gradient" of `ring`, for a weight made with `overwrite_with_gradient=True`: that is how state
    can leave a backward pass on every backend. `inverse` is a constant of the gradient.

    Args:
        x: Float32 tensor.
        inverse: Tensor `(C,)`, shaped to broadcast over `x`.
        ring: Tensor `(batches, C)`.
        slot: Tensor `(batches, 1)`, 1 where this batch belongs, 0 elsewhere.
        averages: Scalar tensor, 1 or 0.
        axes: Axes of `x` without that of the channels.
        synchronized: Whether `Ψ` is averaged over all replicas.
        axis_name: As in `kdl.ops.has_replicas`.

    Source: MABN (arXiv 2001.06838), section 4.
    """
    shape = inverse.shape

    @ops.custom_gradient
    def normalize(x, inverse, ring, slot, averages):
        # `z` anew: with the one returned it would be a cycle that PyTorch's memory waits for.
        def gradient(*inputs, upstream=None):
            [g] = inputs if upstream is None else [upstream]
            z = x * inverse
            psi, count = mean_over(g * z, axes, synchronized, axis_name)
            new_ring = ops.where(ops.logical_and(slot > 0, count > 0), psi, ring)
            mean = ops.where(averages > 0, ops.mean(new_ring, 0), psi)
            dx = (g - z * ops.reshape(mean, shape)) * inverse
            rest = (ops.zeros_like(v) for v in (slot, averages))
            return dx, ops.zeros_like(inverse), new_ring, *rest

        return x * inverse, gradient

    return normalize(x, inverse, ring, slot, averages)
