"""Triplets of a batch, mined and summed without ever holding all of them.

A triplet is an anchor, a positive of the same class and a negative of another one. Of a batch of B
there are up to B³ of them; what stands here needs the memory of a few `(B, B)` matrices.
"""

from collections.abc import Callable
from typing import TypeAlias

import keras
import numpy as np
from keras import ops

from kdl._typing import Tensor

_FAR = np.float32(np.inf)

# A function of distances to one positive, or of their differences, that gives losses and slopes.
Compare: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]


def triplet_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Masks of the positive and of the negative pairs `(anchor, other)`: two bool `(B, B)`.

    Args:
        labels: Integer tensor `(B,)`.
    """
    same = ops.equal(labels[:, None], labels[None, :])
    rows = ops.arange(ops.shape(labels)[0])
    itself = ops.equal(rows[:, None], rows[None, :])
    return ops.logical_and(same, ops.logical_not(itself)), ops.logical_not(same)


def hardest_positives(distances: Tensor, positive: Tensor, otherwise: Tensor) -> Tensor:
    """The farthest positive of each anchor, `(B,)`.

    Args:
        distances: Tensor `(B, B)`, not negative.
        positive: From `triplet_masks`.
        otherwise: Indices `(B,)` for anchors without a positive.
    """
    return _farthest(distances, positive, otherwise)


def hardest_negatives(distances: Tensor, negative: Tensor, otherwise: Tensor) -> Tensor:
    """The nearest negative of each anchor, `(B,)`; the arguments are as of `hardest_positives`."""
    nearest = ops.argmin(ops.where(negative, distances, _FAR), axis=1)
    return ops.where(ops.any(negative, axis=1), nearest, otherwise)


def semi_hard_negatives(
    distances: Tensor, negative: Tensor, positive_distances: Tensor, otherwise: Tensor
) -> Tensor:
    """The nearest negative that is farther than the positive, else the farthest negative, `(B,)`.

    Args:
        distances: Tensor `(B, B)`, not negative.
        negative: From `triplet_masks`.
        positive_distances: Tensor `(B,)`.
        otherwise: Indices `(B,)` for anchors without a negative.
    """
    outside = ops.logical_and(negative, distances > positive_distances[:, None])
    farthest = _farthest(distances, negative, otherwise)
    return hardest_negatives(distances, outside, farthest)


def _farthest(distances, mask, otherwise):
    farthest = ops.argmax(ops.where(mask, distances, -1.0), axis=1)
    return ops.where(ops.any(mask, axis=1), farthest, otherwise)


def violation(margin: float | str) -> Compare:
    """A function of `z = D(a, p) − D(a, n)` that gives the loss of a triplet and its slope.

    Args:
        margin: A number `m`, for `[m + z]₊`, or `"soft"`, for `ln(1 + eᶻ)`.
    """
    if margin == "soft":
        return lambda z: (ops.softplus(z), ops.sigmoid(z))

    def hinge(z):
        z = z + margin
        return ops.relu(z), ops.cast(z > 0, "float32")

    return hinge


def sum_of_hinges(
    distances: Tensor, labels: Tensor, negative: Tensor, margin: float, bounded: bool = False
) -> tuple[Tensor, Tensor]:
    """Sums of `[m + D(a, p) − D(a, n)]₊` over all positives and negatives of each anchor.

    With `c(p)` negatives nearer than `D(a, p) + m`, and `k(n)` positives for which `n` is one of
    them, the sum is `Σ c(p) (m + D(a, p)) − Σ k(n) D(a, n)`. So counting is all that takes time.

    Args:
        distances: Tensor `(B, B)`. The sums have a gradient with respect to it, of first order.
        labels: Integer tensor `(B,)`.
        negative: From `triplet_masks`.
        margin: `m`, a number.
        bounded: Whether negatives that are not farther than the positive are left out.

    Returns:
        Sums of each anchor, `(B,)`, and the number of its triplets whose loss is not zero.
    """
    constant = ops.stop_gradient(distances)
    count = _count_by_search if keras.backend.backend() == "torch" else _count_by_loop
    slopes = count(constant, labels, negative, margin, bounded)
    counts = ops.sum(ops.relu(slopes), axis=1)
    # Distances less the mean of those of the negatives give the same sum, and lose fewer digits.
    mean = ops.sum(ops.relu(-slopes) * constant, axis=1) / ops.maximum(counts, 1.0)
    return margin * counts + ops.sum(slopes * (distances - mean[:, None]), axis=1), counts


def _count_by_loop(distances, labels, negative, margin, bounded):
    """`c(p)` at the positives and `−k(n)` at the negatives, by comparing all of them."""
    far = ops.where(negative, distances, _FAR)

    def compare(positive_distances):
        hits = far < (positive_distances + margin)[:, None]
        if bounded:
            hits = ops.logical_and(hits, distances > positive_distances[:, None])
        return ops.zeros_like(positive_distances), ops.cast(hits, "float32")

    return _loop(distances, labels, ops.any(negative, axis=1), compare)[2]


def _count_by_search(distances, labels, negative, margin, bounded):
    """The same on PyTorch, which can search in sorted rows, as long as the largest class."""
    import torch

    order, starts, places, sizes = _classes(labels)
    numbers = torch.arange(1, max(int(sizes.max()), 2), device=labels.device)
    places = (places[:, None] + numbers) % sizes[:, None]
    partners = order[starts[:, None] + places].to(torch.int64)
    near = torch.where(numbers < sizes[:, None], distances.gather(1, partners), -_FAR)
    if bounded:  # nothing lies between two numbers that are one after rounding
        near = torch.where(near + margin > near, near, -_FAR)
    near, rising = near.sort(dim=1)
    partners = partners.gather(1, rising)
    far = torch.where(negative, distances, _FAR)
    slopes = _count_below(far, near + margin, partners, right=True)
    if bounded:
        slopes -= _count_below(far, near, partners, right=False)
    return slopes


def _count_below(far, limits, partners, right):
    """Counts of `far` below `limits`, or not above them without `right`, of each row.

    Args:
        far: Distances `(B, B)`, infinite but at negatives.
        limits: `(B, K)`, each row sorted.
        partners: Positives `(B, K)` to which the limits belong.
        right: Whether a limit counts only what is less.
    """
    import torch

    places = torch.searchsorted(limits, far, right=right)
    counts = torch.zeros_like(torch.nn.functional.pad(limits, (0, 1)))
    counts.scatter_add_(1, places, counts.new_ones(()).expand_as(far))
    slopes = (places - limits.shape[1]).to(far.dtype)
    return slopes.scatter_add_(1, partners, counts[:, :-1].cumsum(1))


def sum_over_negatives(distances: Tensor, negative: Tensor, loss: Compare) -> Compare:
    """For `sum_over_positives`: all negatives of each anchor.

    Args:
        distances: Tensor `(B, B)`.
        negative: From `triplet_masks`.
        loss: From `violation`.
    """
    far = ops.where(negative, distances, _FAR)  # where no loss has a value

    def compare(positive_distances):
        terms, slopes = loss(positive_distances[:, None] - far)
        return ops.sum(terms, axis=1), slopes

    return compare


def take_semi_hard(
    distances: Tensor,
    negative: Tensor,
    loss: Compare,
    otherwise: Tensor,
) -> Compare:
    """For `sum_over_positives`: one negative for each pair, by `semi_hard_negatives`."""
    columns = ops.arange(ops.shape(distances)[1])

    def compare(positive_distances):
        taken = semi_hard_negatives(distances, negative, positive_distances, otherwise)[:, None]
        far = ops.take_along_axis(distances, taken, axis=1)[:, 0]
        terms, slopes = loss(positive_distances - far)
        return terms, ops.where(ops.equal(columns[None, :], taken), slopes[:, None], 0.0)

    return compare


def sum_over_positives(
    distances: Tensor,
    labels: Tensor,
    anchors: Tensor,
    compare: Compare,
) -> tuple[Tensor, Tensor]:
    """Sums over all pairs of anchor and positive, one positive of every anchor at a time.

    The loop has as many steps as the largest class has members but one, and computes the gradient
    along with the value: nothing of a step is kept.

    Args:
        distances: Tensor `(B, B)`. The sums have a gradient with respect to it, of first order.
        labels: Integer tensor `(B,)`.
        anchors: Bool `(B,)`, the anchors that count.
        compare: Function of the distances `(B,)` to one positive of each anchor. It gives the sum
            of the losses of each anchor, `(B,)`, and their slopes by `D(a, p) − D(a, n)` for all
            `n`, `(B, B)`. At a distance of −∞ all must be zero.

    Returns:
        Sums of the losses of each anchor, `(B,)`, and sums of their slopes: for a margin the number
        of triplets whose loss is not zero.
    """
    constant = ops.stop_gradient(distances)
    sums, counts, slopes = _loop(constant, labels, anchors, compare)
    # The loss as a linear function of the distances, whose value here is that of the sums.
    return sums + ops.sum(slopes * (distances - constant), axis=1), counts


def _loop(distances, labels, anchors, compare):
    """Sums of losses and of slopes of each anchor, and the gradient by the distances."""
    order, starts, places, sizes = _classes(labels)
    rows = ops.arange(ops.shape(labels)[0])

    def step(number, sums, counts, slopes):
        partners = ops.take(order, starts + ops.mod(places + number, sizes))
        near = ops.take_along_axis(distances, partners[:, None], axis=1)[:, 0]
        valid = ops.logical_and(anchors, number < sizes)
        terms, slope = compare(ops.where(valid, near, -_FAR))
        total = ops.sum(slope, axis=1)
        slopes = ops.scatter_update(
            slopes - slope, ops.stack([rows, partners], axis=1), total, reduction="add"
        )
        return number + 1, sums + terms, counts + total, slopes

    nothing = ops.zeros_like(distances)
    start = (ops.ones((), "int32"), nothing[:, 0], nothing[:, 0], nothing)
    largest = ops.max(sizes, initial=1)
    return ops.while_loop(lambda n, *_: n < largest, step, start)[1:]


def _classes(labels):
    """The batch in the order of its labels.

    Returns:
        The order; and for each sample where its class begins there, its place within the class, and
        the size of the class.
    """
    order = ops.cast(ops.argsort(labels), "int32")
    ordered = ops.take(labels, order)
    starts = ops.cast(ops.searchsorted(ordered, labels, side="left"), "int32")
    ends = ops.cast(ops.searchsorted(ordered, labels, side="right"), "int32")
    places = ops.cast(ops.argsort(order), "int32") - starts
    return order, starts, places, ends - starts
