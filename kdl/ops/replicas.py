"""Sums over the replicas of a model that trains on many devices."""

import functools

import keras
from keras import ops

PARTED = "Another process of this training has ended"

# What PyTorch says where another process does not answer any more.
_PARTED_WORDS = ("closed", "reset", "refused", "timed out", "timeout", "broken pipe", "remote")


def has_replicas(axis_name=None):
    """Whether other replicas compute the same step as this code, each on its part of the batch.

    - TensorFlow: inside `strategy.run` of a `tf.distribute` strategy of several replicas, where
      `fit` runs the training step.
    - PyTorch: in a process group of several processes (`torch.distributed`).
    - JAX: inside a `pmap` or `shard_map` over the axis `axis_name`. Arrays that are sharded over
      devices (`keras.distribution.DataParallel`) need none of this: each operation sees the whole
      batch.

    Args:
        axis_name: Name of the mapped axis; JAX only.

    Example:
        >>> has_replicas()
        False
    """
    return {"tensorflow": _on_tensorflow, "torch": _on_torch, "jax": _on_jax}.get(
        keras.backend.backend(), _never
    )(axis_name)


def replica_number():
    """Number of this process among those of `torch.distributed`, from 0; elsewhere 0.

    Example:
        >>> replica_number()
        0
    """
    if keras.backend.backend() != "torch" or not _on_torch(None):
        return 0
    from torch import distributed

    return distributed.get_rank()


def wait_for_replicas():
    """Waits until all processes of `torch.distributed` come to this call; elsewhere not at all."""
    if keras.backend.backend() == "torch" and _on_torch(None):
        import torch

        torch_reduced(torch.zeros(1))


def replica_sum(x, axis_name=None):
    """Sum of a tensor over all replicas, by one all-reduce; its gradient is another.

    The gradient counts what the sum does to the loss of every replica: that of replica `i` is
    `Σ_j ∂L_j / ∂sum`. All replicas must come to this call, with equal shapes.

    Args:
        x: Float tensor.
        axis_name: As in `has_replicas`.

    Returns:
        Tensor like `x`; without replicas, `x`.

    Example:
        >>> import numpy as np
        >>> [float(v) for v in replica_sum(np.array([1.0, 2.0], "float32"))]
        [1.0, 2.0]
    """
    if not has_replicas(axis_name):
        return x
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)
    if backend == "jax":
        import jax

        return jax.lax.psum(x, axis_name)
    return _torch_sum().apply(x)


def replica_moments(x, axes, weights=None, axis_name=None):
    """Mean and biased variance over some axes and over all replicas, by one all-reduce.

    `μ = Σx / n` and `σ² = max(Σx² / n − μ², 0)`, with `(Σx, Σx², n)` summed over the replicas in
    float32 (or float64), so that replicas may hold batches of different sizes, or none.

    Args:
        x: Float tensor.
        axes: Axes to reduce, counted from the front: all but that of the channels.
        weights: Weight of each number, broadcast over `x`, such as a mask; one by default.
        axis_name: As in `has_replicas`.

    Returns:
        Tuple of mean and variance, `(C,)`, and of the count `n`, in that precision. Without any
        number mean and variance are 0.

    Source: synchronised batch norm as of Peng et al. (arXiv 1711.07240), section 3.2.

    Example:
        >>> import numpy as np
        >>> x = keras.ops.convert_to_tensor(np.array([[1.0], [3.0]], "float32"))
        >>> [float(keras.ops.squeeze(v)) for v in replica_moments(x, [0])]
        [2.0, 1.0, 2.0]
    """
    dtype = keras.backend.result_type(x.dtype, "float32")
    x = ops.cast(x, dtype)
    channels = next(n for axis, n in enumerate(x.shape) if axis not in axes)
    if weights is None:
        weighted, count = x, ops.cast(ops.size(x), dtype) / channels
    else:
        weights = ops.broadcast_to(ops.cast(weights, dtype), ops.shape(x))
        weighted, count = x * weights, ops.sum(weights) / channels
    sums = [ops.sum(weighted, axes), ops.sum(weighted * x, axes), ops.reshape(count, (1,))]
    total = replica_sum(ops.concatenate(sums), axis_name)
    mean, square, count = total[:channels], total[channels : 2 * channels], total[2 * channels]
    n = ops.maximum(count, 1.0)
    mean = mean / n
    return mean, ops.maximum(square / n - ops.square(mean), 0.0), count


def _on_tensorflow(axis_name):
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def _on_torch(axis_name):
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized() and _processes() > 1


def _processes():
    from torch import distributed

    return distributed.get_world_size()


def _on_jax(axis_name):
    import jax

    if axis_name is None:
        return False
    try:
        return jax.lax.axis_size(axis_name) > 1
    except NameError:
        return False  # outside of the mapped function


def _never(axis_name):
    return False


@functools.cache
def _torch_sum():
    """PyTorch's own all-reduce has no gradient."""
    import torch

    class ReplicaSum(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch_reduced(x)

        @staticmethod
        def backward(ctx, gradient):
            return torch_reduced(gradient)

    return ReplicaSum


def torch_reduced(x):
    """Sum of a PyTorch tensor over all processes, without a gradient.

    Raises:
        RuntimeError: If another process has ended.
    """
    from torch import distributed

    total = x.detach().clone().contiguous()
    try:
        distributed.all_reduce(total)
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in _PARTED_WORDS):
            raise
        raise RuntimeError(
            f"{PARTED}, or is out of reach ({error}). Start the "
            f"training again: with kdl.training.Backup it goes on after its last finished epoch."
        ) from error
    return total
