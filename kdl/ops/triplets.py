"""Triplets of a batch, mined and summed without ever holding all of them.

A triplet is an anchor, a positive of the same class and a negative of another one. Of a batch of B
there are up to B³ of them; what stands here needs the memory of a few `(B, B)` matrices.
"""

import numpy as np
from keras import ops

_FAR = np.float32(np.inf)


def triplet_masks(labels):
    """Which pairs `(anchor, other)` are positive, and which negative: two bool `(B, B)`.

    Args:
        labels: Integer tensor `(B,)`.
    """
    same = ops.equal(labels[:, None], labels[None, :])
    rows = ops.arange(ops.shape(labels)[0])
    itself = ops.equal(rows[:, None], rows[None, :])
    return ops.logical_and(same, ops.logical_not(itself)), ops.logical_not(same)


def hardest_positives(distances, positive, otherwise):
    """The farthest positive of each anchor, `(B,)`.

    Args:
        distances: Tensor `(B, B)`, not negative.
        positive: From `triplet_masks`.
        otherwise: Indices `(B,)` for anchors without a positive.
    """
    return _farthest(distances, positive, otherwise)


def hardest_negatives(distances, negative, otherwise):
    """The nearest negative of each anchor, `(B,)`; the arguments are as of `hardest_positives`."""
    nearest = ops.argmin(ops.where(negative, distances, _FAR), axis=1)
    return ops.where(ops.any(negative, axis=1), nearest, otherwise)


def semi_hard_negatives(distances, negative, positive_distances, otherwise):
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


def violation(margin):
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


def sum_over_negatives(distances, negative, loss, bounded=False):
    """For `sum_over_positives`: all negatives of each anchor.

    Args:
        distances: Tensor `(B, B)`.
        negative: From `triplet_masks`.
        loss: From `violation`.
        bounded: Whether negatives nearer than the positive are left out.
    """
    far = ops.where(negative, distances, _FAR)  # where no loss has a value

    def compare(positive_distances):
        terms, slopes = loss(positive_distances[:, None] - far)
        if bounded:
            farther = distances > positive_distances[:, None]
            terms, slopes = ops.where(farther, terms, 0.0), ops.where(farther, slopes, 0.0)
        return ops.sum(terms, axis=1), slopes

    return compare


def take_semi_hard(distances, negative, loss, otherwise):
    """For `sum_over_positives`: one negative for each pair, by `semi_hard_negatives`."""
    columns = ops.arange(ops.shape(distances)[1])

    def compare(positive_distances):
        taken = semi_hard_negatives(distances, negative, positive_distances, otherwise)[:, None]
        found = ops.take_along_axis(distances, taken, axis=1)[:, 0]
        terms, slopes = loss(positive_distances - found)
        return terms, ops.where(ops.equal(columns[None, :], taken), slopes[:, None], 0.0)

    return compare


def sum_over_positives(distances, labels, anchors, compare):
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
    order, starts, places, sizes = _classes(labels)
    rows = ops.arange(ops.shape(labels)[0])

    def step(number, sums, counts, slopes):
        partners = ops.take(order, starts + ops.mod(places + number, sizes))
        found = ops.take_along_axis(constant, partners[:, None], axis=1)[:, 0]
        there = ops.logical_and(anchors, number < sizes)
        terms, slope = compare(ops.where(there, found, -_FAR))
        total = ops.sum(slope, axis=1)
        slopes = ops.scatter_update(
            slopes - slope, ops.stack([rows, partners], axis=1), total, reduction="add"
        )
        return number + 1, sums + terms, counts + total, slopes

    nothing = ops.zeros_like(constant)
    start = (ops.ones((), "int32"), nothing[:, 0], nothing[:, 0], nothing)
    largest = ops.max(sizes, initial=1)
    _, sums, counts, slopes = ops.while_loop(lambda n, *_: n < largest, step, start)
    # The loss as a linear function of the distances, whose value here is that of the sums.
    return sums + ops.sum(slopes * (distances - constant), axis=1), counts


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
