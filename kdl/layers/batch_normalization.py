"""Keras's batch normalisation, carried out by one fused operation."""

import keras
from keras import ops

from kdl.ops.normalization import can_fuse, fused_batch_norm


@keras.saving.register_keras_serializable("kdl")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that is fast to train on every backend.

    `y = γ · (x − μ) / √(σ² + ε) + β`, with the mean and the biased variance of the batch in
    training, and their moving averages in inference.

    The same arguments, weights (`gamma`, `beta`, `moving_mean`, `moving_variance`) and results as
    Keras's layer, so that weight files interchange. Keras writes the formula out in several
    operations; this layer uses the one that TensorFlow and PyTorch have for images, where it is
    faster. Elsewhere (JAX, other ranks, masks, `renorm`, `synchronized`, no scale or no offset; in
    training on TensorFlow, channels that 8 does not divide) it is Keras's layer.

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

    def __init__(self, axis=-1, momentum=0.99, epsilon=1e-3, **kwargs):
        super().__init__(axis=axis, momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs, training=None, mask=None):
        """Normalises `inputs`."""
        from_batch = bool(training and self.trainable)
        special = self.renorm or self.synchronized or not (self.scale and self.center)
        channels = self.moving_mean.shape[0]
        if mask is not None or special or not can_fuse(inputs, channels, self.axis, from_batch):
            return super().call(inputs, training=training, mask=mask)
        weights = [ops.cast(w, "float32") for w in (self.gamma, self.beta)]
        moving = [ops.cast(w, "float32") for w in (self.moving_mean, self.moving_variance)]
        if not from_batch:
            return fused_batch_norm(inputs, *weights, self.epsilon, self.axis, *moving)[0]
        outputs, *batch = fused_batch_norm(inputs, *weights, self.epsilon, self.axis)
        variables = (self.moving_mean, self.moving_variance)
        for variable, old, new in zip(variables, moving, batch, strict=True):
            variable.assign(old * self.momentum + new * (1.0 - self.momentum))
        return outputs
