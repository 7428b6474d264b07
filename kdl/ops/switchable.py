"""The statistics of switchable normalisation, all from one pass over the image."""

from keras import ops

from kdl.ops.replicas import replica_sum


def instance_moments(x, axis, unbiased=False):
    """Mean and second moment of each channel of each image, `(N, C)`.

    The second moment is `σ² + μ²`, with the variance `σ²` of `S` pixels biased, or multiplied by
    `S / (S − 1)`; one pixel has variance 0 in both forms.

    Args:
        x: Float tensor `(N, …, C)` of rank 3 or more.
        axis: Axis of the channels, counted from the front.
        unbiased: Whether the variance is the unbiased one.

    Example:
        >>> import numpy as np
        >>> x = np.array([1.0, 3.0], "float32").reshape(1, 2, 1)
        >>> mean, square = instance_moments(x, 2)
        >>> float(mean[0, 0]), float(square[0, 0])
        (2.0, 5.0)
    """
    pixels = [a for a in range(1, len(x.shape)) if a != axis]
    mean, square = ops.mean(x, pixels), ops.mean(x * x, pixels)
    if unbiased:
        variance = ops.maximum(square - mean * mean, 0.0)
        count = ops.cast(ops.size(x), x.dtype) / ops.cast(ops.size(mean), x.dtype)
        square = unbiased_variance(variance, count) + mean * mean
    return mean, square


def layer_moments(mean, square):
    """Mean and variance of each image, `(N, 1)`, from the moments of its channels."""
    mean, square = ops.mean(mean, 1, keepdims=True), ops.mean(square, 1, keepdims=True)
    return mean, ops.maximum(square - mean * mean, 0.0)


def batch_moments(mean, square, synchronized=False, axis_name=None):
    """Mean and variance of each channel, `(1, C)`, from those of the images of all replicas."""
    if not synchronized:
        mean, square = ops.mean(mean, 0, keepdims=True), ops.mean(square, 0, keepdims=True)
    else:
        ones = ops.ones_like(mean[:, :1])
        sums = ops.sum(ops.concatenate([mean, square, ones], axis=1), 0, keepdims=True)
        sums = replica_sum(sums, axis_name)
        mean, square = ops.split(sums[:, :-1] / ops.maximum(sums[:, -1:], 1.0), 2, axis=1)
    return mean, ops.maximum(square - mean * mean, 0.0)


def unbiased_variance(variance, count):
    """`n / (n − 1)` times a biased variance; 0 where `n` is 1."""
    count = ops.cast(count, variance.dtype)
    return variance * (count / ops.maximum(count - 1.0, 1.0))
