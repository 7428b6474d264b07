"""Fake quantization: numbers as a low-bit file holds them."""

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import ArrayLike, Tensor
from kdl.ops._shapes import along_axis
from kdl.ops.lowering import resolve_lowering

# A channel's range is at least this share of its tensor's: a channel of zeros has a bias all the
# same, which must fit into 32 bits at the scale of its weights.
_LEAST_SHARE = 1e-4
_LEAST_RANGE = 1e-7

TIES = (None, "up", "away")

# The largest weight must not fall out of its range by the rounding of the range's end.
_MARGIN = 1 + 2**-20


def fake_quantize(
    inputs: ArrayLike,
    low: float | Tensor,
    high: float | Tensor,
    bits: int = 8,
    narrow_range: bool = False,
    axis: int | None = None,
    ties: str | None = None,
) -> Tensor:
    """Fake quantization: round `inputs` to the values of an affine quantizer of so many bits.

    With `n = 2^bits − 1` (`2^bits − 2` if narrow) the scale is `s = (high − low) / n`. The range
    is moved so that zero is one of its values: `low' = −s · round(−low / s)`. Then

        y = s · floor(clip(x, low', low' + n·s) / s + 1/2)

    The gradient is that of the clip: 1 inside the range, 0 outside; `low` and `high` have none.
    TensorFlow has an operation of its own, which its converter to TFLite knows. It is faster in
    training and less exact near ties, and is taken within `lowering_scope("native")` and
    `lowering_scope("device")`.

    Args:
        inputs: Float tensor.
        low: Lower end of the range, at most 0: a scalar, or one value a channel.
        high: Upper end of the range, at least 0.
        bits: Integer from 2 to 16. Defaults to 8.
        narrow_range: Whether the lowest of the integers stays unused, as for symmetric weights.
        axis: Axis of the channels, or None (default) if `low` and `high` are scalars.
        ties: Where what lies within 2⁻¹⁰ steps of halfway goes, for numbers that are halfway by
            nature: `"up"`, or `"away"` from the middle of the integers, as TFLite rounds averages.
            Only where `low` and `high` are scalars. None (default): to where float32 puts it.

    Returns:
        Tensor of the shape and dtype of `inputs`. Where `low = high = 0` it is zero.

    Raises:
        ValueError: If `bits` or `ties` is out of range, or there are `ties` and an `axis`.

    Source: Jacob et al. (arXiv 1712.05877), section 3.1; Krishnamoorthi (arXiv 1806.08342).

    Example:
        >>> [round(float(y), 4) for y in fake_quantize([-1.2, 0.333, 2.0], -1.0, 1.5)]
        [-1.0, 0.3333, 1.5]
    """
    check_bits("bits", bits)
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(map(repr, TIES))}; received {ties!r}.")
    if ties and axis is not None:
        raise ValueError(f"ties={ties!r} needs one range, so axis=None; received axis={axis!r}.")
    inputs = ops.convert_to_tensor(inputs)
    x = ops.cast(inputs, "float32")
    low, high = (ops.stop_gradient(ops.convert_to_tensor(end, "float32")) for end in (low, high))
    if ties:
        x = _off_halfway(x, low, high, bits, ties)
    if _by_tensorflow():
        outputs = _tensorflow(x, low, high, bits, narrow_range, axis)
    else:
        if axis is not None:
            shape = along_axis(axis, len(x.shape))
            low, high = ops.reshape(low, shape), ops.reshape(high, shape)
        outputs = _affine(x, low, high, 2**bits - 1 - narrow_range)
    return ops.cast(outputs, inputs.dtype)


def fake_quantize_weights(kernel: ArrayLike, bits: int = 8, axis: int | None = -1) -> Tensor:
    """Fake quantization of weights: signed integers of so many bits, a scale for each channel.

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
    if _by_tensorflow():
        largest = _largest(kernel, axis)
        return fake_quantize(kernel, -largest, largest, bits, narrow_range=True, axis=axis)
    # One division, as converters do it: with the affine form's error near a tie, one weight in
    # fifty thousand would be another integer in the file.
    scale = weight_scales(kernel, bits, axis)
    if axis is not None:
        scale = ops.reshape(scale, along_axis(axis, len(kernel.shape)))
    x = ops.cast(kernel, "float32")
    rounded = scale * ops.round(x / scale)
    return ops.cast(x + ops.stop_gradient(rounded - x), kernel.dtype)


def weight_scales(kernel: ArrayLike, bits: int = 8, axis: int | None = -1) -> Tensor:
    """Scales of quantized weights, one for each channel or a scalar.

    They are the `s_c` of `fake_quantize_weights`.

    Args:
        kernel: Float tensor.
        bits: Integer from 2 to 16. Defaults to 8.
        axis: Axis of the channels (last by default), or None for one scale in all.

    Raises:
        ValueError: If `bits` is out of range.

    Example:
        >>> round(float(weight_scales([-1.27, 0.5], axis=None)), 4)
        0.01
    """
    return _largest(ops.convert_to_tensor(kernel), axis) / (2 ** (check_bits("bits", bits) - 1) - 1)


def check_bits(name: str, bits: int, most: int = 16) -> int:
    """Return `bits`, or raise ValueError unless it is an integer from 2 to `most`."""
    return check_integer(name, bits, least=2, most=most)


def _largest(kernel, axis):
    """End of the range of the weights, for each channel or for all."""
    size = ops.abs(ops.stop_gradient(ops.cast(kernel, "float32")))
    largest = ops.max(size)
    if axis is not None:
        others = [i for i in range(len(kernel.shape)) if i != axis % len(kernel.shape)]
        largest = ops.maximum(ops.max(size, axis=others), largest * _LEAST_SHARE)
    return ops.maximum(largest, _LEAST_RANGE) * _MARGIN


def _by_tensorflow():
    """Tell whether TensorFlow's own operation is asked for, or its converter will read it."""
    lowering = resolve_lowering("auto")
    return keras.backend.backend() == "tensorflow" and lowering in ("native", "device")


def _off_halfway(x, low, high, bits, ties):
    """`x`, moved a little up or away from the middle of the integers, but not out of the range."""
    scale, low, high = _nudged(low, high, 2**bits - 1)
    goes_down = ties == "away" and x < low + scale * 2 ** (bits - 1)
    moved = x + ops.where(goes_down, -scale, scale) * 2**-10
    return ops.where(ops.logical_and(moved >= low, moved <= high), moved, x)


def _affine(x, low, high, steps):
    scale, low, high = _nudged(low, high, steps)
    clipped = ops.stop_gradient(ops.clip(x, low, high))
    rounded = scale * ops.floor(clipped / scale + 0.5)
    # Not the clip's own gradient, which JAX halves at the ends.
    passed = ops.where(ops.logical_and(x >= low, x <= high), x, clipped)
    return passed + ops.stop_gradient(rounded - clipped)


def _nudged(low, high, steps):
    """`(scale, low', high')`: a range of which zero is a value."""
    span = high - low
    scale = ops.where(span > 0, span / steps, 1.0)
    low = -scale * ops.floor(-low / scale + 0.5)
    return scale, low, ops.where(span > 0, low + steps * scale, low)


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
