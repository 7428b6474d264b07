"""Keras's batch normalization, carried out by one fused operation."""

from typing import Any

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.ops.normalization import can_fuse, fused_batch_norm, moments, normalize, widened


@keras.saving.register_keras_serializable("kdl")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that is fast to train on every backend.

    `y = γ · (x − μ) / √(σ² + ε) + β`, with the mean and the biased variance of the batch in
    training, and their moving averages in inference.

    The same arguments, weights (`gamma`, `beta`, `moving_mean`, `moving_variance`) and results as
    Keras's layer, so that weight files interchange. Keras writes the formula out in several
    operations; this layer uses the one that PyTorch has, and TensorFlow for images, where it is
    faster (in training, if 8 divides the channels). `renorm` and `synchronized` are Keras's own.

    Where Keras's layer fails, this one does not: its statistics hold where the mean is large beside
    the deviation, on every backend; float32 inputs under `mixed_float16` are not narrowed first;
    and an empty batch leaves the moving averages alone.

    Shapes: `(batch, …, C)` → the same. Statistics are float32 under mixed precision.

    Args:
        axis: Axis of the channels. Defaults to −1.
        momentum: Weight of the old value in the moving averages. Defaults to 0.99.
        epsilon: Added to the variance. Defaults to 0.001.
        **kwargs: All other arguments of `keras.layers.BatchNormalization`.

    Source: Batch Normalization (arXiv 1502.03167).

    Example:
        >>> import numpy as np
        >>> layer = BatchNormalization(momentum=0.0)
        >>> x = np.float32([1, 3]).reshape(2, 1, 1, 1)
        >>> y = keras.ops.convert_to_numpy(layer(x, training=True))
        >>> [round(float(value), 2) for value in y.ravel()]
        [-1.0, 1.0]
        >>> float(layer.moving_mean[0]), round(float(layer.moving_variance[0]), 4)
        (2.0, 1.0)
    """

    keras_class = keras.layers.BatchNormalization  # the same weights and results

    def __init__(
        self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3, **kwargs: Any
    ) -> None:
        super().__init__(axis=axis, momentum=momentum, epsilon=epsilon, **kwargs)
        self.autocast = False

    def call(
        self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Normalizes `inputs`."""
        inputs = widened(inputs, self.compute_dtype)
        from_batch = bool(training and self.trainable)
        if self.renorm or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        channels = self.moving_mean.shape[0]
        if not (from_batch and mask is not None) and can_fuse(
            inputs, channels, self.axis, from_batch
        ):
            return ops.cast(self._fused(inputs, from_batch), self.compute_dtype)
        if not from_batch:
            return super().call(inputs, training=False)
        weights = None if mask is None else ops.expand_dims(mask, -1)
        return self._normalized(inputs, *moments(inputs, self._other_axes(inputs), weights))

    def _fused(self, inputs, from_batch):
        ones = ops.ones(self.moving_mean.shape, "float32")
        gamma, beta = ops.cast(self.gamma, "float32") if self.scale else ones, 0 * ones
        if self.center:
            beta = ops.cast(self.beta, "float32")
        if not from_batch:
            moving = [ops.cast(w, "float32") for w in (self.moving_mean, self.moving_variance)]
            return fused_batch_norm(inputs, gamma, beta, self.epsilon, self.axis, *moving)[0]
        outputs, *batch = fused_batch_norm(inputs, gamma, beta, self.epsilon, self.axis)
        self._follow(*batch, ops.size(inputs))
        return outputs

    def _normalized(self, inputs, mean, variance, count):
        """Normalizes by moments of the batch, which the moving averages follow."""
        self._follow(mean, variance, count)
        x = ops.cast(inputs, mean.dtype)
        y = normalize(x, mean, variance, self.gamma, self.beta, self.epsilon, self.axis)
        return ops.cast(y, self.compute_dtype)

    def _follow(self, mean, variance, count):
        """Moves the averages; an empty batch leaves them."""
        for variable, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old = ops.cast(variable, new.dtype)
            moved = old * self.momentum + ops.stop_gradient(new) * (1.0 - self.momentum)
            variable.assign(ops.where(count > 0, moved, old))

    def _other_axes(self, inputs):
        rank = len(inputs.shape)
        return [axis for axis in range(rank) if axis != self.axis % rank]
