"""Moments, and batch normalization by one fused operation, where the backend has one."""

from collections.abc import Sequence

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.ops._shapes import along_axis

_FLOATS = ("float32", "float16", "bfloat16")


# TensorFlow's gradient is slower than the plain formula's unless this divides the channels.
_VECTOR = 8


def widened(inputs: Tensor, compute_dtype: str) -> Tensor:
    """`inputs` for a norm of this dtype: float32 is not narrowed, whose squares half would lose.

    Args:
        inputs: Tensor, as it came to a layer without autocast.
        compute_dtype: The layer's.
    """
    inputs = ops.convert_to_tensor(inputs)
    wide = keras.backend.result_type(compute_dtype, "float32")
    if keras.backend.standardize_dtype(inputs.dtype) in (compute_dtype, wide):
        return inputs
    return ops.cast(inputs, wide)


def moments(
    x: Tensor, axes: Sequence[int], weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance over some axes, and how many numbers they are of.

    The variance is the mean of `(x − μ)²`: `E[x²] − μ²` would lose its digits where the mean is
    large. Computed in float32 at least.

    Args:
        x: Float tensor.
        axes: Axes to reduce, counted from the front: all but that of the channels.
        weights: Weight of each number, broadcast over `x`, such as a mask; one by default. What
            has weight 0 may be anything.

    Returns:
        Three tensors `(C,)`. Without any number mean and variance are 0.

    Example:
        >>> import numpy as np
        >>> x = keras.ops.convert_to_tensor(np.array([[1001.0], [1003.0]], "float32"))
        >>> [float(keras.ops.squeeze(v)) for v in moments(x, [0])]
        [1002.0, 1.0, 2.0]
    """
    x = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    if weights is not None:
        weights = ops.broadcast_to(ops.cast(weights, x.dtype), ops.shape(x))
        x = ops.where(weights > 0, x, 0.0)

    def total(values):
        return ops.sum(values if weights is None else values * weights, axes, keepdims=True)

    sums = total(x)
    if weights is None:
        count = ops.cast(ops.size(x), x.dtype) / ops.cast(ops.size(sums), x.dtype)
    else:
        count = ops.sum(weights, axes, keepdims=True)
    mean = over(sums, count)
    variance = over(total(ops.square(x - mean)), count)
    count = ops.broadcast_to(count, ops.shape(mean))
    return tuple(ops.reshape(v, (-1,)) for v in (mean, variance, count))


def over(total: Tensor, count: Tensor) -> Tensor:
    """`total / count`; the total where there is nothing to count."""
    return total / ops.where(count > 0, count, 1.0)


def normalize(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    epsilon: float,
    axis: int,
) -> Tensor:
    """`γ · (x − μ) / √(σ² + ε) + β`; `x − μ` comes first, before digits are lost.

    Args:
        x: Float tensor.
        mean: Mean `(C,)`.
        variance: Variance `(C,)`.
        gamma: Scale `(C,)`, or None.
        beta: Offset `(C,)`, or None.
        epsilon: Added to the variance.
        axis: Axis of the channels.
    """
    shape = along_axis(axis, len(x.shape))
    scale = ops.rsqrt(variance + epsilon)
    scale = scale if gamma is None else scale * ops.cast(gamma, scale.dtype)
    y = (x - ops.reshape(mean, shape)) * ops.reshape(scale, shape)
    return y if beta is None else y + ops.reshape(ops.cast(beta, y.dtype), shape)


def can_fuse(inputs: Tensor, channels: int, axis: int, training: bool) -> bool:
    """Tell whether `fused_batch_norm` takes `inputs` and is faster than the formula written out."""
    backend, rank = keras.backend.backend(), len(inputs.shape)
    if keras.backend.standardize_dtype(inputs.dtype) not in _FLOATS:
        return False
    if backend == "torch":  # which has no operation for nothing
        return rank > 1 and axis % rank > 0 and 0 not in inputs.shape
    if rank != 4:
        return False
    fast = not training or channels % _VECTOR == 0
    return backend == "tensorflow" and axis in (3, -1) and fast


def fused_batch_norm(
    inputs: Tensor,
    gamma: Tensor,
    beta: Tensor,
    epsilon: float,
    axis: int = -1,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalization by the backend's fused operation, `γ · (x − μ) / √(σ² + ε) + β`.

    TensorFlow and PyTorch only; see `can_fuse`. With `mean` and `variance` these are used; without,
    those of the batch are computed, in float32, the variance biased as in Keras.

    Args:
        inputs: Tensor of rank 4; of any from 2 on PyTorch.
        gamma: Scale `(C,)`, float32.
        beta: Offset `(C,)`, float32.
        epsilon: Added to the variance.
        axis: Axis of the channels.
        mean: Mean `(C,)`, or None.
        variance: Variance `(C,)`, or None.

    Returns:
        Tuple of the normalized tensor, in the dtype of `inputs`, the mean and the variance used.

    Source: Batch Normalization (arXiv 1502.03167), algorithm 1.

    Example:
        >>> import keras, numpy as np
        >>> x = keras.ops.convert_to_tensor(np.float32([1, 3]).reshape(2, 1, 1, 1))
        >>> one, zero = keras.ops.ones(1), keras.ops.zeros(1)
        >>> y = x if not can_fuse(x, 1, -1, False) else fused_batch_norm(x, one, zero, 0.001)[0]
        >>> y.shape[0]
        2
    """
    fused = _torch if keras.backend.backend() == "torch" else _tensorflow
    return fused(inputs, gamma, beta, epsilon, axis, mean, variance)


def _tensorflow(inputs, gamma, beta, epsilon, axis, mean, variance):
    import tensorflow as tf

    training = mean is None
    outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=tf.zeros([0], "float32") if training else mean,
        variance=tf.zeros([0], "float32") if training else variance,
        epsilon=epsilon,
        is_training=training,
    )
    if not training:
        return outputs, mean, variance
    # The operation gives n / (n − 1) times the variance by which it divides.
    count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], "float32")
    return outputs, batch_mean, batch_variance * ((count - 1.0) / tf.maximum(count, 1.0))


def _torch(inputs, gamma, beta, epsilon, axis, mean, variance):
    import torch

    x = inputs.movedim(axis, 1)
    if mean is not None:
        y = torch.nn.functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)
    else:
        y, mean, inverse = torch.native_batch_norm(x, gamma, beta, None, None, True, 0.0, epsilon)
        variance = (inverse.detach().float() ** -2 - epsilon).clamp(min=0.0)
        mean = mean.detach()
    return y.movedim(1, axis), mean, variance
