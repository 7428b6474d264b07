"""Switchable normalization."""

from typing import Any

import keras
from keras import ops

from kdl._typing import Initializer, Shape, Tensor
from kdl.ops.normalization import widened
from kdl.ops.switchable import (
    batch_moments,
    instance_moments,
    layer_moments,
    unbiased_variance,
)


@keras.saving.register_keras_serializable("kdl")
class SwitchableNormalization(keras.layers.Layer):
    """Normalizes by a learned mixture of instance, layer and batch statistics.

    `y = γ · (x − μ) / √(σ² + ε) + β` with `μ = Σₖ wₖ μₖ` and `σ² = Σₖ w'ₖ σₖ²`, where `k` runs over
    instance, layer and batch norm, and `w` and `w'` are softmaxes of three trainable numbers each.
    The statistics of all three follow from mean and variance of each channel of each image.

    In inference the batch's statistics are moving averages, those of the image are its own. The
    averages start from zero, as in the official code; `kdl.training.recalibrate` replaces them by
    the paper's batch average, which is exact.

    Shapes: `(batch, …, C)` → the same. Inputs of rank 2 have no instance norm; one norm alone has
    no numbers to mix.

    Args:
        axis: Axis of the channels. Defaults to −1.
        momentum: Weight of the old value in the moving averages. Defaults to 0.9; the official code
            has 0.997 for inputs of one or three axes of pixels.
        epsilon: Added to the variance. Defaults to 1e-5.
        use_batch_norm: Whether batch norm is in the mixture. Without it (for one image a device)
            training and inference are the same. Defaults to True.
        unbiased: Whether variances over pixels (of inputs of rank 2: over channels and over the
            batch) are divided by `n − 1`, as in the official code. Defaults to False, the paper's
            formula. A single pixel has variance 0 in both forms.
        synchronized: Whether batch norm sees the batches of all devices, as in
            `SyncBatchNormalization`. Defaults to False.
        axis_name: Name of the axis that JAX maps over, with `synchronized`.
        gamma_initializer: Initializer of `γ`; `"zeros"` for the last norm of a residual block
            (`last_gamma` in the official code). Defaults to `"ones"`.
        **kwargs: `name`, `dtype` and `trainable`.

    Raises:
        ValueError: If the input has less than two axes, or its channels are unknown.

    Source: Differentiable Learning-to-Normalize via Switchable Normalization (arXiv 1806.10779).

    Example:
        >>> import numpy as np
        >>> layer = SwitchableNormalization()
        >>> x = np.float32([[[1, 2], [3, 6]], [[0, 5], [4, 5]]])  # two pixels of two channels
        >>> y = keras.ops.convert_to_numpy(layer(x, training=True))
        >>> [round(float(value), 5) for value in y[0, :, 0]]
        [-0.87287, 0.43643]
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        use_batch_norm: bool = True,
        unbiased: bool = False,
        synchronized: bool = False,
        axis_name: str | None = None,
        gamma_initializer: Initializer = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.use_batch_norm = use_batch_norm
        self.unbiased = unbiased
        self.synchronized = synchronized
        self.axis_name = axis_name
        self.gamma_initializer = keras.initializers.get(gamma_initializer)

    def build(self, input_shape: Shape) -> None:
        """Makes `γ`, `β`, the numbers of the mixtures, and the moving averages."""
        rank = len(input_shape)
        if rank < 2 or input_shape[self.axis] is None or self.axis % rank == 0:
            raise ValueError(
                f"SwitchableNormalization needs inputs (batch, …) whose axis {self.axis} has a "
                f"known number of channels; received shape {tuple(input_shape)}."
            )
        channels = (input_shape[self.axis],)
        self.gamma = self._weight("gamma", channels, self.gamma_initializer)
        self.beta = self._weight("beta", channels, "zeros")
        kinds = (1 if rank == 2 else 2) + bool(self.use_batch_norm)
        self.mean_logits = self.variance_logits = None
        if kinds > 1:
            self.mean_logits = self._weight("mean_logits", (kinds,), "ones")
            self.variance_logits = self._weight("variance_logits", (kinds,), "ones")
        if self.use_batch_norm:
            self.moving_mean = self._weight("moving_mean", channels, "zeros", False)
            self.moving_variance = self._weight("moving_variance", channels, "zeros", False)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Normalizes `inputs`."""
        x = widened(inputs, self.compute_dtype)
        x = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
        rank = len(x.shape)
        axis = self.axis % rank
        means, variances = zip(*self._moments(x, axis, training), strict=True)
        variance = _mix(self.variance_logits, variances)
        scale = ops.cast(self.gamma, x.dtype) * ops.rsqrt(variance + self.epsilon)
        shape = [1] * rank
        shape[axis] = x.shape[axis]
        beta = ops.reshape(ops.cast(self.beta, x.dtype), shape)
        shape[0] = -1
        # The means' differences are small where they are large: these are mixed.
        first = means[0] + ops.zeros((1, x.shape[axis]), x.dtype)
        shift = _mix(self.mean_logits, [first - mean for mean in means])
        centered = (x - ops.reshape(first, shape)) + ops.reshape(shift, shape)
        y = centered * ops.reshape(scale, shape) + beta
        return ops.cast(y, self.compute_dtype)

    def _moments(self, x, axis, training):
        """Mean and variance of each norm in the mixture."""
        if len(x.shape) > 2:
            mean, variance = instance_moments(x, axis, self.unbiased)
            found = [(mean, variance)]
        else:
            mean, variance = x, ops.zeros_like(x)
            found = []
        found.append(self._of_vectors(layer_moments(mean, variance), x, 1))
        if not self.use_batch_norm:
            return found
        if not (training and self.trainable):
            moving = (self.moving_mean, self.moving_variance)
            return [*found, tuple(ops.expand_dims(ops.cast(v, x.dtype), 0) for v in moving)]
        *batch, count = batch_moments(mean, variance, self.synchronized, self.axis_name)
        batch = self._of_vectors(batch, x, 0)
        self._follow(*batch, count)
        return [*found, batch]

    def _of_vectors(self, moments, x, axis):
        """The moments of vectors, which have no pixels, with the variance that is asked for."""
        mean, variance = moments
        if self.unbiased and len(x.shape) == 2:
            variance = unbiased_variance(variance, ops.shape(x)[axis])
        return mean, variance

    def _follow(self, mean, variance, count):
        """Moves the averages; an empty batch leaves them."""
        for variable, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old = ops.cast(variable, new.dtype)
            new = ops.stop_gradient(ops.squeeze(new, 0))
            moved = old * self.momentum + new * (1.0 - self.momentum)
            variable.assign(ops.where(count > 0, moved, old))

    def _weight(self, name, shape, initializer, trainable=True):
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, trainable=trainable, autocast=False
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "use_batch_norm": self.use_batch_norm,
            "unbiased": self.unbiased,
            "synchronized": self.synchronized,
            "axis_name": self.axis_name,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
        }


def _mix(logits, statistics):
    if logits is None:
        return statistics[0]
    weights = ops.softmax(ops.cast(logits, statistics[0].dtype))
    return sum(weights[k] * statistic for k, statistic in enumerate(statistics))
