"""Sums over the replicas of a model that trains on many devices."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Sequence

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.ops.normalization import moments, over

PEER_LOST = "Another process of this training has ended"

# What PyTorch says where another process does not respond any more.
_PEER_LOST_WORDS = ("closed", "reset", "refused", "timed out", "timeout", "broken pipe", "remote")

_whole = contextvars.ContextVar("whole", default=False)


@contextlib.contextmanager
def whole_batches() -> Iterator[None]:
    """Context in which this process holds whole batches: nothing is summed over replicas."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


def has_replicas(axis_name: str | None = None) -> bool:
    """Tell whether other replicas compute this same step, each on its part of the batch.

    - TensorFlow: inside `strategy.run` of a `tf.distribute` strategy of several replicas, where
      `fit` runs the training step.
    - PyTorch: in a process group of several processes (`torch.distributed`), but not where each of
      them computes the whole, as in `evaluate` within `kdl.training.distribute`.
    - JAX: inside a `pmap` or `shard_map` over the axis `axis_name`. Arrays that are sharded over
      devices (`keras.distribution.DataParallel`) need none of this: each operation sees the whole
      batch.

    Args:
        axis_name: Name of the mapped axis; JAX only.

    Example:
        >>> has_replicas()
        False
    """
    if _whole.get():
        return False
    return {"tensorflow": _on_tensorflow, "torch": _on_torch, "jax": _on_jax}.get(
        keras.backend.backend(), _never
    )(axis_name)


def replica_number() -> int:
    """Number of this process among those of `torch.distributed`, from 0; elsewhere 0.

    Example:
        >>> replica_number()
        0
    """
    if keras.backend.backend() != "torch" or not _on_torch(None):
        return 0
    from torch import distributed

    return distributed.get_rank()


def summed_replicas() -> int:
    """Number of replicas whose losses TensorFlow adds up, each of its part of the batch; or 1."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def wait_for_replicas() -> None:
    """Wait until all processes of `torch.distributed` come to this call; elsewhere not at all."""
    if keras.backend.backend() == "torch" and _on_torch(None):
        import torch

        torch_reduced(torch.zeros(1))


def batch_total(x: Tensor, axis_name: str | None = None) -> Tensor:
    """Sum of a tensor over all replicas of one step, by one all-reduce; its gradient is another.

    From a sum over a replica's part of the batch it makes that over the whole batch, which is what
    a loss must divide by. The gradient counts what the total does to the loss of every replica:
    that of replica `i` is `Σ_j ∂L_j / ∂total`. All replicas must come to this call, with equal
    shapes.

    Args:
        x: Tensor of numbers.
        axis_name: As in `has_replicas`.

    Returns:
        Tensor like `x`; without replicas, `x`.

    Example:
        >>> import numpy as np
        >>> [float(v) for v in batch_total(np.array([1.0, 2.0], "float32"))]
        [1.0, 2.0]
    """
    if _is_alone(x, axis_name):
        return x
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)
    if backend == "jax":
        import jax

        return jax.lax.psum(x, axis_name)
    return _torch_sum().apply(ops.convert_to_tensor(x))


replica_sum = batch_total  # its former name


def batch_gather(x: Tensor, axis_name: str | None = None) -> tuple[Tensor, int | Tensor]:
    """Rows of all replicas, in their order, for what no sum can tell: distances, or an order.

    The gradient of a row is the sum of what the losses of all replicas give it. On TensorFlow and
    PyTorch replicas may hold different numbers of rows, or none.

    Shapes: `(rows, …)` → `(rows of all replicas, …)`.

    Args:
        x: Tensor of numbers.
        axis_name: As in `has_replicas`.

    Returns:
        Tuple of the rows and the place of this replica's first one among them; without replicas
        `x` and 0.

    Example:
        >>> import numpy as np
        >>> rows, first = batch_gather(np.array([[1.0], [2.0]], "float32"))
        >>> rows.shape[0], first
        (2, 0)
    """
    if _is_alone(x, axis_name):
        return x, 0
    x = ops.convert_to_tensor(x)
    count, number = _place(axis_name)
    if keras.backend.backend() == "jax":  # whose parts have one size
        return ops.reshape(_stack(x, axis_name), (-1, *x.shape[1:])), number * x.shape[0]
    sizes, numbers = _stack(ops.cast(ops.shape(x)[0], "int32")), ops.arange(count, dtype="int32")
    before, after = (ops.sum(ops.where(o, sizes, 0)) for o in (numbers < number, numbers > number))
    if keras.backend.backend() == "torch":
        before, after = int(before), int(after)
    ends = [ops.zeros((rows, *ops.shape(x)[1:]), x.dtype) for rows in (before, after)]
    return batch_total(ops.concatenate([ends[0], x, ends[1]])), before


def replica_moments(
    x: Tensor, axes: Sequence[int], weights: Tensor | None = None, axis_name: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance over some axes and over all replicas, by one all-reduce.

    Each replica takes those of its part, in float32 (or float64), and those of the whole follow:
    `μ = Σ nᵢμᵢ / N` and `σ² = Σ nᵢ(σᵢ² + (μᵢ − μ)²) / N`. So no digits are lost where the mean is
    large, and replicas may hold batches of different sizes, or none.

    Args:
        x: Float tensor.
        axes: Axes to reduce, counted from the front: all but that of the channels.
        weights: Weight of each number, broadcast over `x`, such as a mask; one by default.
        axis_name: As in `has_replicas`.

    Returns:
        Tuple of mean and variance, `(C,)`, and of the count `n`, in that precision. Without any
        number mean and variance are 0.

    Source: synchronized batch norm as of Peng et al. (arXiv 1711.07240), section 3.2.

    Example:
        >>> import numpy as np
        >>> x = keras.ops.convert_to_tensor(np.array([[1.0], [3.0]], "float32"))
        >>> [float(keras.ops.squeeze(v)) for v in replica_moments(x, [0])]
        [2.0, 1.0, 2.0]
    """
    parts = _stack(ops.stack(moments(x, axes, weights)), axis_name)
    mean, variance, count = joined_moments(*ops.unstack(parts, axis=1))
    return mean, variance, count[0]


def joined_moments(
    means: Tensor, variances: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and count of a whole from those of its parts, along axis 0.

    Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances (1979).
    """
    count = ops.sum(counts, 0)
    mean = over(ops.sum(means * counts, 0), count)
    squares = ops.sum(counts * (variances + ops.square(means - mean)), 0)
    return mean, over(squares, count), count


def _is_alone(x, axis_name):
    """Tell whether there is nothing to add to `x`, or only its shape is asked for."""
    if not has_replicas(axis_name):
        return True
    if keras.backend.backend() != "torch":
        return False
    return ops.convert_to_tensor(x).device.type == "meta"


def _stack(x, axis_name=None):
    """`x` of each replica, `(replicas, …)`."""
    if _is_alone(x, axis_name):
        return ops.expand_dims(x, 0)
    count, number = _place(axis_name)
    own = ops.reshape(ops.arange(count, dtype="int32") == number, (count, *[1] * len(x.shape)))
    return batch_total(ops.where(own, x, ops.zeros_like(x)), axis_name)


def _place(axis_name):
    """Number of replicas, and which of them this is."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        return context.num_replicas_in_sync, context.replica_id_in_sync_group
    if backend == "jax":
        import jax

        return jax.lax.axis_size(axis_name), jax.lax.axis_index(axis_name)
    return _processes(), replica_number()


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


def torch_reduced(x: Tensor) -> Tensor:
    """Sum of a PyTorch tensor over all processes, without a gradient.

    Raises:
        RuntimeError: If another process has ended.
    """
    from torch import distributed

    total = x.detach().clone().contiguous()
    try:
        distributed.all_reduce(total)
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in _PEER_LOST_WORDS):
            raise
        raise RuntimeError(
            f"{PEER_LOST}, or is out of reach ({error}). Start the "
            f"training again: with kdl.training.Backup it goes on after its last finished epoch."
        ) from error
    return total
