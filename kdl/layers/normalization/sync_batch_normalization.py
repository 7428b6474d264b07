"""Batch normalization by the statistics of the batches of all devices."""

from typing import Any

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.layers.normalization.batch_normalization import BatchNormalization
from kdl.ops.normalization import widened
from kdl.ops.replicas import has_replicas, replica_moments


@keras.saving.register_keras_serializable("kdl")
class SyncBatchNormalization(BatchNormalization):
    """Batch normalization by the mean and variance of the whole batch, on however many devices.

    `y = γ · (x − μ) / √(σ² + ε) + β` with the mean and the biased variance of the batch on all
    devices, joined from those of its parts, see `kdl.ops.replica_moments`. They go through one
    all-reduce, in float32 whatever the precision; in the backward pass their gradients go through
    another. Devices may hold parts of different sizes, or empty ones. Each updates its moving
    averages by the same numbers.

    - TensorFlow: devices work together in `tf.distribute.MirroredStrategy`
    - PyTorch: in processes of `torch.distributed`
    - JAX: in `pmap` or `shard_map` over `axis_name`. With `keras.distribution.DataParallel` every
      batch norm is synchronized, this one too

    On one device, in inference and when frozen it is `kdl.layers.BatchNormalization`.

    Shapes: `(batch, …, C)` → the same.

    Args:
        axis: Axis of the channels. Defaults to −1.
        momentum: Weight of the old value in the moving averages. Defaults to 0.99.
        epsilon: Added to the variance. Defaults to 0.001.
        axis_name: Name of the axis that JAX maps over; other backends leave it alone.
        **kwargs: Other arguments of `keras.layers.BatchNormalization`, but `renorm` and
            `synchronized`.

    Raises:
        ValueError: If `renorm` or `synchronized` is given.

    Source: MegDet (arXiv 1711.07240), section 3.2.

    Example:
        >>> import numpy as np
        >>> layer = SyncBatchNormalization(momentum=0.0)
        >>> x = np.float32([[1], [3]])
        >>> y = keras.ops.convert_to_numpy(layer(x, training=True))
        >>> [round(float(value), 2) for value in y.ravel()]
        [-1.0, 1.0]
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        axis_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("renorm", "synchronized"):
            if kwargs.get(name):
                raise ValueError(
                    f"SyncBatchNormalization has no {name}: it always synchronizes, and never "
                    f"renormalizes. Leave the argument out."
                )
        super().__init__(axis=axis, momentum=momentum, epsilon=epsilon, **kwargs)
        self.axis_name = axis_name

    def call(
        self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Normalizes `inputs`."""
        from_batch = training and self.trainable
        if not from_batch or not has_replicas(self.axis_name):
            return super().call(inputs, training=training, mask=mask)
        weights = None if mask is None else ops.expand_dims(mask, -1)
        inputs = widened(inputs, self.compute_dtype)
        axes = self._other_axes(inputs)
        return self._normalized(inputs, *replica_moments(inputs, axes, weights, self.axis_name))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {**super().get_config(), "axis_name": self.axis_name}
        config.pop("synchronized")
        return config
