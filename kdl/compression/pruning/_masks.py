"""Magnitude pruning masks."""

import math

from keras import ops


def largest_of_each(kernels, sparsity):
    """Masks of the largest weights of each kernel.

    Of `n` weights `k = max(round(n · (1 − sparsity)), 1)` stay: those whose magnitude is at least
    the `k`-th largest, ties included.

    Args:
        kernels: List of float tensors.
        sparsity: Scalar from 0 to below 1.

    Returns:
        List of boolean tensors.
    """
    return [mask for kernel in kernels for mask in largest_of_all([kernel], sparsity)]


def largest_of_all(kernels, sparsity):
    """Masks of the largest weights of all kernels together; as `largest_of_each` for one."""
    sizes = [_magnitude_bits(kernel) for kernel in kernels]
    total = sum(math.prod(kernel.shape) for kernel in kernels)
    kept = ops.maximum(ops.round(total * (1 - ops.cast(sparsity, "float32"))), 1.0)
    threshold = _kth_largest(sizes, ops.cast(kept, "int32"))
    return [size >= threshold for size in sizes]


def n_of_m(kernel, n, m, axis):
    """Mask of the `n` largest weights of each `m` that follow each other along an axis.

    Of equal weights the first stay. If `m` does not divide the axis, the last block is shorter.

    Args:
        kernel: Float tensor.
        n: Integer scalar, a tensor or not.
        m: Integer.
        axis: Axis of the blocks.

    Returns:
        Boolean tensor.
    """
    sizes = ops.moveaxis(_magnitude_bits(kernel), axis, -1)
    length = sizes.shape[-1]
    padding = [(0, 0)] * (len(sizes.shape) - 1) + [(0, -length % m)]
    blocks = ops.reshape(ops.pad(sizes, padding, constant_values=-1), (-1, m))
    mine, other = ops.expand_dims(blocks, -1), ops.expand_dims(blocks, -2)
    place = ops.arange(m)
    earlier = ops.expand_dims(place, 0) < ops.expand_dims(place, 1)
    ahead = ops.logical_or(other > mine, ops.logical_and(ops.equal(other, mine), earlier))
    kept = ops.sum(ops.cast(ahead, "int32"), axis=-1) < n
    kept = ops.reshape(kept, (*sizes.shape[:-1], -1))[..., :length]
    return ops.moveaxis(kept, -1, axis)


def _magnitude_bits(kernel):
    """The bits of |w| in float32 as int32; they are in the order of the magnitudes."""
    return ops.view(ops.abs(ops.cast(kernel, "float32")), "int32")


def _kth_largest(sizes, k):
    """The `k`-th largest of the integers from 0 in all tensors of a list.

    It is found bit by bit, as the largest number that `k` of them reach. XLA takes 25 times as long
    to sort them on a CPU, and they need not be joined.
    """

    def with_bit(index, found):
        tried = found + ops.left_shift(1, 30 - index)
        reach = sum(ops.sum(ops.cast(size >= tried, "int32")) for size in sizes)
        return ops.where(reach >= k, tried, found)

    return ops.fori_loop(0, 31, with_bit, ops.zeros((), "int32"))
