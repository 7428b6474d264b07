"""The statistics of switchable normalization, all from those of each channel of each image."""

from keras import ops

from kdl._typing import Tensor
from kdl.ops.normalization import over
from kdl.ops.replicas import batch_total


def instance_moments(x: Tensor, axis: int, unbiased: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of each image, `(N, C)`.

    The variance of `S` pixels is biased, or multiplied by `S / (S − 1)`; one pixel has variance 0
    in both forms. A pixel is taken off all others first, so that large numbers keep their digits.

    Args:
        x: Float tensor `(N, …, C)` of rank 3 or more.
        axis: Axis of the channels, counted from the front.
        unbiased: Whether the variance is the unbiased one.

    Example:
        >>> import numpy as np
        >>> x = np.array([1001.0, 1003.0], "float32").reshape(1, 2, 1)
        >>> mean, variance = instance_moments(x, 2)
        >>> float(mean[0, 0]), float(variance[0, 0])
        (1002.0, 1.0)
    """
    x = ops.convert_to_tensor(x)
    pixels = [a for a in range(1, len(x.shape)) if a != axis]
    first = ops.stop_gradient(x[tuple(slice(0, 1 if a in pixels else None) for a in range(x.ndim))])
    mean = ops.mean(x - first, pixels, keepdims=True)
    variance = ops.mean(ops.square(x - first - mean), pixels)
    mean = ops.squeeze(first + mean, pixels)
    if unbiased:
        count = ops.cast(ops.size(x), x.dtype) / ops.cast(ops.size(mean), x.dtype)
        variance = unbiased_variance(variance, count)
    return mean, variance


def layer_moments(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each image, `(N, 1)`, from the moments of its channels."""
    whole = _mean(mean, 1)
    return whole, ops.mean(variance + ops.square(mean - whole), 1, keepdims=True)


def batch_moments(
    mean: Tensor, variance: Tensor, synchronized: bool = False, axis_name: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel, `(1, C)`, from those of the images of all replicas.

    Returns:
        Mean, variance, and the number of images; without any, mean and variance are 0.
    """
    count = ops.sum(ops.ones_like(mean[:, :1]), 0, keepdims=True)
    if synchronized:
        count = batch_total(count, axis_name)

    def average(values):
        total = ops.sum(values, 0, keepdims=True)
        return over(batch_total(total, axis_name) if synchronized else total, count)

    whole = average(mean) if synchronized else _mean(mean, 0)
    return whole, average(variance + ops.square(mean - whole)), count[0, 0]


def _mean(values, axis):
    """Mean along an axis of a matrix; of equal numbers it is exactly that number."""
    first = values[:1] if axis == 0 else values[:, :1]
    first = ops.stop_gradient(ops.sum(first, axis, keepdims=True))  # 0 where there is none
    count = ops.cast(ops.shape(values)[axis], values.dtype)
    return first + over(ops.sum(values - first, axis, keepdims=True), count)


def unbiased_variance(variance: Tensor, count: float | Tensor) -> Tensor:
    """`n / (n − 1)` times a biased variance; 0 where `n` is 1."""
    count = ops.cast(count, variance.dtype)
    return variance * (count / ops.maximum(count - 1.0, 1.0))
