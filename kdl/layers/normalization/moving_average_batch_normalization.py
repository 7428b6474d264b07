"""Batch normalization for small batches, by moving averages."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._compat import averages_of_overwritten_weights
from kdl._typing import Shape, Tensor
from kdl.ops.moving_average import averaged_normalize, mean_over
from kdl.ops.normalization import widened


@keras.saving.register_keras_serializable("kdl")
class MovingAverageBatchNormalization(keras.layers.Layer):
    """Batch norm whose statistics, those of the backward pass too, come from the last batches.

    For batches of two to eight images, whose own statistics are too noisy. With `χ²` the mean of
    `x²` over a batch,

        z = x / √(χ̄² + ε),   y = γ · r · z + β,   ∂L/∂x = (g − z · Ψ̄) / √(χ̄² + ε)

    where `χ̄²` is the mean of `χ²` over the last `buffer_size` batches, `g = ∂L/∂y · γ · r`, and `Ψ̄`
    the mean of `Ψ = mean(g · z)` over as many. `r = √(χ̄² + ε) / √(χ̂² + ε)`, clipped and constant
    for the gradient, leads to the moving average `χ̂²`, by which inference divides. There is no mean
    to subtract: use `CentralizedConv2D`, without bias, before it.

    Until the buffers are full, and for `warmup_steps`, `χ²` and `Ψ` of the batch alone are taken;
    for the first `correction_steps`, `r` is 1.

    The buffer of `Ψ` is written in the backward pass. It counts as a trainable weight, which the
    optimizer overwrites with its "gradient", the new buffer, whatever the optimizer is. What adds
    up gradients spoils it: `gradient_accumulation_steps`, or a layer that is called twice in a
    step. In half precision take `mixed_bfloat16`: under `mixed_float16` the buffer would mix
    gradients of different loss scales whenever the scale changes.

    Shapes: `(batch, …, C)` → the same.

    Args:
        axis: Axis of the channels. Defaults to −1.
        buffer_size: Number of batches that are averaged; the paper's `m`, 32 images over the batch
            size. Defaults to 16.
        momentum: Weight of the old value in `χ̂²`. Defaults to 0.98.
        epsilon: Added to the mean square. Defaults to 1e-5.
        max_correction: `r` is kept between its inverse and this. Defaults to 5.
        warmup_steps: Steps in which batches stand for themselves. Defaults to 100.
        correction_steps: Steps in which `r` is 1, at least `warmup_steps`. Defaults to 1000.
        synchronized: Whether a batch is that of all devices, as in `SyncBatchNormalization`.
            Defaults to False.
        axis_name: Name of the axis that JAX maps over, with `synchronized`.
        **kwargs: `name`, `dtype` and `trainable`.

    Raises:
        ValueError: If `buffer_size` is not a positive integer, or the channels are unknown.

    Source: Towards Stabilizing Batch Statistics in Backward Propagation (arXiv 2001.06838).

    Example:
        >>> import numpy as np
        >>> layer = MovingAverageBatchNormalization()
        >>> x = np.float32([1, 2, 3, 4]).reshape(2, 2, 1)
        >>> y = keras.ops.convert_to_numpy(layer(x, training=True))
        >>> [round(float(value), 4) for value in y.ravel()]
        [0.3651, 0.7303, 1.0954, 1.4606]
    """

    def __init__(
        self,
        axis: int = -1,
        buffer_size: int = 16,
        momentum: float = 0.98,
        epsilon: float = 1e-5,
        max_correction: float = 5.0,
        warmup_steps: int = 100,
        correction_steps: int = 1000,
        synchronized: bool = False,
        axis_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False
        buffer_size = check_integer("buffer_size", buffer_size)
        self.axis = axis
        self.buffer_size = buffer_size
        self.momentum = momentum
        self.epsilon = epsilon
        self.max_correction = max_correction
        self.warmup_steps = warmup_steps
        self.correction_steps = correction_steps
        self.synchronized = synchronized
        self.axis_name = axis_name

    def build(self, input_shape: Shape) -> None:
        """Makes `γ`, `β`, the moving average, the step and the two buffers."""
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError("The number of input channels must be known; received None.")
        averages_of_overwritten_weights()
        buffer = (self.buffer_size, channels)
        self.gamma = self._weight("gamma", (channels,), "ones")
        self.beta = self._weight("beta", (channels,), "zeros")
        self.moving_variance = self._weight("moving_variance", (channels,), "ones", trainable=False)
        self.step = self._weight("step", (), "zeros", trainable=False, dtype="int32")
        self.squares = self._weight("squares", buffer, "zeros", trainable=False)
        self.products = self._weight("products", buffer, "zeros", overwrite_with_gradient=True)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Normalizes `inputs`."""
        x = widened(inputs, self.compute_dtype)
        x = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
        rank = len(x.shape)
        axes = [a for a in range(rank) if a != self.axis % rank]
        shape = [1] * rank
        shape[self.axis] = x.shape[self.axis]
        if training and self.trainable:
            z, correction = self._by_last_batches(x, axes, shape)
        else:
            z, correction = x, ops.rsqrt(ops.cast(self.moving_variance, x.dtype) + self.epsilon)
        gamma, beta = ops.cast(self.gamma, x.dtype), ops.cast(self.beta, x.dtype)
        y = z * ops.reshape(gamma * correction, shape) + ops.reshape(beta, shape)
        return ops.cast(y, self.compute_dtype)

    def _by_last_batches(self, x, axes, shape):
        """`z` and `r` of a training step, whose statistics become part of the state."""
        step = self.step + 1
        slots = ops.equal(ops.arange(self.buffer_size), step % self.buffer_size)
        slot = ops.cast(slots, x.dtype)[:, None]
        full = ops.logical_and(step > self.buffer_size, step >= self.warmup_steps)
        averages = ops.cast(full, x.dtype)

        replicas = (self.synchronized, self.axis_name)
        square, count = mean_over(ops.stop_gradient(ops.square(x)), axes, *replicas)
        squares = ops.where(slot > 0, square, ops.cast(self.squares, x.dtype))
        square = ops.where(full, ops.mean(squares, 0), square)
        inverse = ops.reshape(ops.rsqrt(square + self.epsilon), shape)
        ring = ops.cast(self.products, x.dtype)
        z = averaged_normalize(x, inverse, ring, slot, averages, axes, *replicas)
        correction = self._correction(square, step)

        before = ops.cast(self.moving_variance, x.dtype)
        follows = self.momentum * before + (1.0 - self.momentum) * square
        state = [(self.moving_variance, follows), (self.squares, squares), (self.step, step)]
        for variable, new in state:
            old = ops.cast(variable, new.dtype)
            variable.assign(ops.where(count > 0, new, old))  # an empty batch is none to follow
        return z, correction

    def _correction(self, square, step):
        """`r`, which carries the last batches' division over to the moving average's."""
        before = ops.cast(self.moving_variance, square.dtype)
        r = ops.sqrt((square + self.epsilon) / (before + self.epsilon))
        r = ops.clip(r, 1.0 / self.max_correction, self.max_correction)
        started = step > max(self.correction_steps, self.warmup_steps)
        return ops.where(started, r, ops.ones_like(r))

    def _weight(self, name, shape, initializer, **settings):
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, autocast=False, **settings
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "buffer_size": self.buffer_size,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "max_correction": self.max_correction,
            "warmup_steps": self.warmup_steps,
            "correction_steps": self.correction_steps,
            "synchronized": self.synchronized,
            "axis_name": self.axis_name,
        }
