"""Training on several devices of one machine."""

import contextlib
import functools
from collections.abc import Iterator, Sequence

import keras

from kdl._checks import is_integer
from kdl._compat import layouts_of_each_batch


@contextlib.contextmanager
def distribute(devices: int | Sequence[str] | None = None) -> Iterator[int]:
    """Within this context `compile` and `fit` train a model on several devices.

    Make, compile and train the model inside. `batch_size` is that of all devices together; each
    takes its part of every batch. `kdl.layers.SyncBatchNormalization`, what else has
    `synchronized=True`, and all losses of `kdl.losses` see the whole batch: update and reported
    loss are those of one device. Losses of Keras are means or sums over samples, which parts join;
    but where one divides by what a mask or `ignore_class` leaves, each part is a mean of its own,
    whatever share of the batch's valid places it has.

    | backend | what carries it | batch norm as it is |
    | --- | --- | --- |
    | TensorFlow | `tf.distribute.MirroredStrategy` | sees a device's part |
    | JAX | `keras.distribution.DataParallel` | sees the whole batch |
    | PyTorch | `torch.distributed`, one process a device | sees a device's part |

    On TensorFlow parts of a last batch weigh the same in the loss, whatever their size, and Keras
    refuses a first batch, of training or of validation, that cannot be divided. On JAX a batch
    that the number of devices does not divide, such as the last one, runs whole on
    each of them. On PyTorch the context must run in several processes, which
    `kdl train --devices N` or `torchrun` starts, all with the same data in the same order, and in a
    single one it changes nothing; `fit` takes arrays and `keras.utils.PyDataset`s, of which each
    process gets its part, or a `DataLoader` that gives this process's part. In `evaluate` and
    `predict` each process computes all of it. All but the first neither print nor write. What they
    log of the training set is the mean of their values, weighted by samples: right for losses and
    accuracies, while a ratio over the whole set, such as AUC or precision, is near to it.

    Args:
        devices: Number of devices, or their names as the backend spells them (not on PyTorch, where
            each process takes its own). Defaults to all accelerators, or the CPU. A number
            on a machine without accelerators makes as many of the CPU; TensorFlow and JAX
            can do that only before they have computed anything.

    Yields:
        Number of devices.

    Raises:
        ValueError: If there are fewer devices than asked for.
        RuntimeError: If a process does not find the others, or another one ends before its time.

    Example:
        >>> import numpy as np
        >>> with distribute(1) as count:
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile("sgd", "mse")
        ...     _ = model.fit(np.ones((4, 2)), np.ones(4), batch_size=4, verbose=0)
        >>> count
        1
    """
    contexts = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    backend = keras.backend.backend()
    if backend not in contexts:
        raise ValueError(f"distribute works on {', '.join(contexts)}; the backend is {backend}.")
    with contexts[backend](devices) as count:
        yield count


@contextlib.contextmanager
def _tensorflow(devices):
    import tensorflow as tf

    if is_integer(devices):
        devices = _tensorflow_devices(tf, devices)
    strategy = tf.distribute.MirroredStrategy(devices)
    with strategy.scope():
        yield strategy.num_replicas_in_sync


def _tensorflow_devices(tf, count):
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if kind == "CPU":
        [cpu] = tf.config.list_physical_devices(kind)
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        with contextlib.suppress(RuntimeError):  # TensorFlow has begun: its devices must do
            tf.config.set_logical_device_configuration(cpu, parts)
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    _check_count(count, names)
    return names[:count]


@contextlib.contextmanager
def _jax(devices):
    if is_integer(devices):
        devices = _jax_devices(devices)
    devices = devices or keras.distribution.list_devices()
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(_parallel()(devices=devices))
    try:
        with layouts_of_each_batch():
            yield len(devices)
    finally:
        keras.distribution.set_distribution(before)


@functools.cache
def _parallel():
    """Keras's data parallelism, which also takes batches that it cannot divide."""

    class AnyBatch(keras.distribution.DataParallel):
        def get_data_layout(self, data_shape):
            layout = super().get_data_layout(data_shape)
            if data_shape[0] % self.device_mesh.devices.size == 0:
                return layout
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    return AnyBatch


def _jax_devices(count):
    import jax

    with contextlib.suppress(RuntimeError):  # JAX has begun: its devices must do
        jax.config.update("jax_num_cpu_devices", count)
    names = keras.distribution.list_devices()
    _check_count(count, names)
    return names[:count]


@contextlib.contextmanager
def _torch(devices):
    from kdl.training.distribution.replicas import replicas

    with replicas() as count:
        if is_integer(devices) and devices != count:
            raise ValueError(
                f"devices={devices}, but this job has {count} processes. On PyTorch each device "
                f"has its process: start as many, by `kdl train --devices {devices}` or "
                f"`torchrun --nproc-per-node {devices}`."
            )
        yield count


def _check_count(count, names):
    if count > len(names):
        raise ValueError(
            f"devices={count}, but the backend has {len(names)}: {', '.join(names)}. If these are "
            f"parts of the CPU, ask for them before anything is computed."
        )
