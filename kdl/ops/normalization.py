"""Batch normalisation of images by one fused operation, where the backend has one."""

import keras

_FLOATS = ("float32", "float16", "bfloat16")


# TensorFlow's gradient is slower than the plain formula's unless this divides the channels.
_VECTOR = 8


def can_fuse(inputs, channels, axis, training):
    """Whether `fused_batch_norm` takes `inputs` and is faster than the formula written out."""
    backend = keras.backend.backend()
    if len(inputs.shape) != 4 or keras.backend.standardize_dtype(inputs.dtype) not in _FLOATS:
        return False
    if backend == "torch":
        return axis in (1, 3, -1)
    fast = not training or channels % _VECTOR == 0
    return backend == "tensorflow" and axis in (3, -1) and fast


def fused_batch_norm(inputs, gamma, beta, epsilon, axis=-1, mean=None, variance=None):
    """Batch normalisation by the backend's fused operation, `γ · (x − μ) / √(σ² + ε) + β`.

    TensorFlow and PyTorch only; see `can_fuse`. With `mean` and `variance` these are used; without,
    those of the batch are computed, in float32, the variance biased as in Keras.

    Args:
        inputs: Tensor of rank 4.
        gamma: Scale `(C,)`, float32.
        beta: Offset `(C,)`, float32.
        epsilon: Added to the variance.
        axis: Axis of the channels.
        mean: Mean `(C,)`, or None.
        variance: Variance `(C,)`, or None.

    Returns:
        Tuple of the normalised tensor, in the dtype of `inputs`, the mean and the variance used.

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

    x = inputs if axis == 1 else inputs.permute(0, 3, 1, 2)
    if mean is not None:
        y = torch.nn.functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)
    else:
        y, mean, inverse = torch.native_batch_norm(x, gamma, beta, None, None, True, 0.0, epsilon)
        variance = inverse.detach().float() ** -2 - epsilon
        mean = mean.detach()
    return (y if axis == 1 else y.permute(0, 2, 3, 1)), mean, variance
