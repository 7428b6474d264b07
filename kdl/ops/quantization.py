"""Quantiser arithmetic: what a number becomes in a file of few bits."""

import keras
from keras import ops

# A channel's range is at least this share of its tensor's: a channel of zeros has a bias all the
# same, which must fit into 32 bits at the scale of its weights.
_LEAST_SHARE = 1e-4
_LEAST_RANGE = 1e-7

# The largest weight must not fall out of its range by the rounding of the range's end.
_MARGIN = 1 + 2**-20


def fake_quantize(inputs, low, high, bits=8, narrow_range=False, axis=None):
    """Rounds `inputs` to the values that an affine quantiser of so many bits can hold.

    With `n = 2^bits − 1` (`2^bits − 2` if narrow) the scale is `s = (high − low) / n`. The range
    is moved so that zero is one of its values: `low' = −s · round(−low / s)`. Then

        y = low' + s · floor((clip(x, low', low' + n·s) − low') / s + 1/2)

    The gradient is that of the clip: 1 inside the range, 0 outside; `low` and `high` have none. On
    TensorFlow it is the operation that the converter to TFLite knows.

    Args:
        inputs: Float tensor.
        low: Lower end of the range, at most 0: a scalar, or one value a channel.
        high: Upper end of the range, at least 0.
        bits: Integer from 2 to 16. Defaults to 8.
        narrow_range: Whether the lowest of the integers stays unused, as for symmetric weights.
        axis: Axis of the channels, or None (default) if `low` and `high` are scalars.

    Returns:
        Tensor of the shape and dtype of `inputs`. Where `low = high = 0` it is zero.

    Raises:
        ValueError: If `bits` is out of range.

    Source: Jacob et al. (arXiv 1712.05877), section 3.1; Krishnamoorthi (arXiv 1806.08342).

    Example:
        >>> [round(float(y), 4) for y in fake_quantize([-1.2, 0.333, 2.0], -1.0, 1.5)]
        [-1.0, 0.3333, 1.5]
    """
    check_bits("bits", bits)
    inputs = ops.convert_to_tensor(inputs)
    x = ops.cast(inputs, "float32")
    low, high = (ops.stop_gradient(ops.convert_to_tensor(end, "float32")) for end in (low, high))
    if keras.backend.backend() == "tensorflow":
        outputs = _tensorflow(x, low, high, bits, narrow_range, axis)
    else:
        if axis is not None:
            shape = [1] * len(x.shape)
            shape[axis] = -1
            low, high = ops.reshape(low, shape), ops.reshape(high, shape)
        outputs = _affine(x, low, high, 2**bits - 1 - narrow_range)
    return ops.cast(outputs, inputs.dtype)


def fake_quantize_weights(kernel, bits=8, axis=-1):
    """Rounds weights to signed integers of so many bits, each channel at a scale of its own.

    `s_c = max |w_c| / (2^(bits−1) − 1)`, `y = s_c · round(w / s_c)`: symmetric, without the lowest
    integer, so that zero is zero in every channel. The range of a channel is taken as at least
    1e-4 of the largest weight of the tensor.

    Args:
        kernel: Float tensor.
        bits: Integer from 2 to 16. Defaults to 8.
        axis: Axis of the channels (last by default), or None for one scale in all.

    Returns:
        Tensor of the shape and dtype of `kernel`; its gradient is that of `kernel`.

    Raises:
        ValueError: If `bits` is out of range.

    Source: Krishnamoorthi (arXiv 1806.08342), sections 2.2 and 3.1.1.

    Example:
        >>> [round(float(y), 4) for y in fake_quantize_weights([-0.8, 0.5, 0.01], axis=None)]
        [-0.8, 0.4976, 0.0126]
    """
    kernel = ops.convert_to_tensor(kernel)
    size = ops.abs(ops.stop_gradient(ops.cast(kernel, "float32")))
    largest = ops.max(size)
    if axis is not None:
        others = [i for i in range(len(kernel.shape)) if i != axis % len(kernel.shape)]
        largest = ops.maximum(ops.max(size, axis=others), largest * _LEAST_SHARE)
    largest = ops.maximum(largest, _LEAST_RANGE) * _MARGIN
    return fake_quantize(kernel, -largest, largest, bits, narrow_range=True, axis=axis)


def check_bits(name, bits, most=16):
    """Returns `bits`, or raises ValueError unless it is an integer from 2 to `most`."""
    if not isinstance(bits, int) or isinstance(bits, bool) or not 2 <= bits <= most:
        raise ValueError(f"{name} must be an integer from 2 to {most}; received {bits!r}.")
    return bits


def _affine(x, low, high, steps):
    span = high - low
    scale = ops.where(span > 0, span / steps, 1.0)
    low = -scale * ops.floor(-low / scale + 0.5)
    high = ops.where(span > 0, low + steps * scale, low)
    clipped = ops.stop_gradient(ops.clip(x, low, high))
    rounded = low + scale * ops.floor((clipped - low) / scale + 0.5)
    # Not the clip's own gradient, which JAX halves at the ends.
    passed = ops.where(ops.logical_and(x >= low, x <= high), x, clipped)
    return passed + ops.stop_gradient(rounded - clipped)


def _tensorflow(x, low, high, bits, narrow_range, axis):
    import tensorflow as tf

    if axis is None:
        return tf.quantization.fake_quant_with_min_max_vars(
            x, ops.reshape(low, ()), ops.reshape(high, ()), bits, narrow_range
        )
    # The operation takes channels that come last.
    outputs = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        ops.swapaxes(x, axis, -1), low, high, bits, narrow_range
    )
    return ops.swapaxes(outputs, axis, -1)
