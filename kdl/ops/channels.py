"""Channel shuffling and splitting."""

import math

from keras import ops

from kdl._checks import check_integer
from kdl._typing import Tensor


def channel_shuffle(inputs: Tensor, groups: int, data_format: str = "channels_last") -> Tensor:
    """Channel shuffle: interleave the channels of `groups` groups: `[g, n] → transpose → flatten`.

    Channel `a·n + b` of the input (group `a`, position `b`, `n = C / groups`) becomes channel
    `b·groups + a` of the output. No tensor on the way has more than four axes, since mobile GPUs
    support no fifth. The inverse is a shuffle with `C / groups` groups.

    Args:
        inputs: Tensor `(batch, height, width, C)`, or `(batch, C, height, width)` with
            `data_format="channels_first"`. Any dtype.
        groups: Number of groups, a divisor of `C`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Tensor of the shape and dtype of `inputs`.

    Raises:
        ValueError: If `inputs` is not of rank 4, `groups` does not divide `C`, or `inputs` is
            symbolic and its height or width dynamic.

    Source: ShuffleNet (arXiv 1707.01083), section 3.1.

    Example:
        >>> import numpy as np
        >>> x = np.arange(6, dtype="float32").reshape(1, 1, 1, 6)
        >>> [int(c) for c in channel_shuffle(x, groups=3)[0, 0, 0]]
        [0, 2, 4, 1, 3, 5]
    """
    if len(inputs.shape) != 4:
        raise ValueError(
            f"channel_shuffle expects a tensor of rank 4 (images in a batch); received shape "
            f"{tuple(inputs.shape)}."
        )
    axis = channel_axis(data_format)
    channels = inputs.shape[axis]
    check_divisible(channels, groups, "groups")
    height, width = image_size(inputs, data_format)
    pixels = height * width
    if data_format == "channels_last":
        split = (-1, pixels, groups, channels // groups)
        # In two steps: where rows of pixels change places, not single channels, the CPU of a
        # device is three to fifteen times as fast.
        x = ops.transpose(ops.reshape(inputs, split), (0, 3, 2, 1))
        x = ops.transpose(ops.reshape(x, (-1, 1, channels, pixels)), (0, 1, 3, 2))
    else:
        split = (-1, groups, channels // groups, pixels)
        x = ops.transpose(ops.reshape(inputs, split), (0, 2, 1, 3))
    last = data_format == "channels_last"
    size = (height, width, channels) if last else (channels, height, width)
    return ops.reshape(x, (-1, *size))


def channel_split(
    inputs: Tensor, sections: int = 2, data_format: str = "channels_last"
) -> list[Tensor]:
    """Cut the channels into `sections` contiguous parts of equal width.

    Args:
        inputs: Tensor with its channels last, or at axis 1 with `data_format="channels_first"`.
        sections: Number of parts, a divisor of the number of channels. Defaults to 2.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        List of `sections` tensors.

    Raises:
        ValueError: If `sections` does not divide the number of channels.

    Source: ShuffleNet V2 (arXiv 1807.11164), section 3.2.

    Example:
        >>> import numpy as np
        >>> left, right = channel_split(np.zeros((1, 4, 4, 6), "float32"))
        >>> tuple(left.shape), tuple(right.shape)
        ((1, 4, 4, 3), (1, 4, 4, 3))
    """
    axis = channel_axis(data_format)
    check_divisible(inputs.shape[axis], sections, "sections")
    return list(ops.split(inputs, sections, axis=axis))


def channel_axis(data_format: str) -> int:
    """Axis of the channels: −1 for `"channels_last"`, 1 for `"channels_first"`."""
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            f'data_format must be "channels_last" or "channels_first"; received {data_format!r}.'
        )
    return -1 if data_format == "channels_last" else 1


def image_size(
    inputs: Tensor, data_format: str = "channels_last"
) -> tuple[int | Tensor, int | Tensor]:
    """`(height, width)` of images: integers where known, else scalar tensors.

    Args:
        inputs: Tensor `(batch, height, width, C)`, or `(batch, C, height, width)` with
            `data_format="channels_first"`.
        data_format: `"channels_last"` or `"channels_first"`.

    Raises:
        ValueError: If `inputs` is symbolic and its height or width dynamic.

    Example:
        >>> import numpy as np
        >>> image_size(np.zeros((1, 2, 3, 4), "float32"))
        (2, 3)
    """
    shape = ops.shape(inputs)
    size = tuple(shape[axis] for axis in spatial_axes(data_format))
    if None in size:
        raise ValueError(
            f"The height and width must be known to inline this graph; received shape "
            f"{tuple(inputs.shape)}. Give the model a full input_shape."
        )
    return size


def spatial_axes(data_format: str) -> tuple[int, int]:
    """Axes of height and width in a batch of images."""
    return (1, 2) if channel_axis(data_format) == -1 else (2, 3)


def check_divisible(channels: int | None, parts: int, argument: str) -> None:
    """Raise ValueError unless `channels` is known and splits into `parts` equal parts."""
    if channels is None:
        raise ValueError("The number of channels must be known; received None.")
    parts = check_integer(argument, parts)
    if channels % parts:
        raise ValueError(
            f"{argument}={parts} does not divide the {channels} channels of the input. "
            f"Near divisors: {_near_divisors(channels, parts)}."
        )


def check_groups(channels: int | None, groups: int, what: str) -> int:
    """`groups`, if it divides `channels`; else ValueError names widths and groups that fit.

    Args:
        channels: Number of channels.
        groups: Number of groups.
        what: What `channels` counts, for the message.
    """
    groups = check_integer("groups", groups)
    if channels is None or channels % groups == 0:
        return groups
    below = channels // groups * groups
    widths = [str(n) for n in (below, below + groups) if n > 0]
    raise ValueError(
        f"groups={groups} does not divide {what}, {channels}. Nearest widths that it divides: "
        f"{' and '.join(widths)}; numbers of groups near {groups} that divide {channels}: "
        f"{_near_divisors(channels, groups)}."
    )


def _near_divisors(channels, parts):
    """The three divisors nearest to a number of parts, for a message."""
    divisors = [d for d in range(1, channels + 1) if channels % d == 0]
    near = sorted(divisors, key=lambda d: abs(math.log(d / parts)))[:3]
    return ", ".join(map(str, sorted(near)))
