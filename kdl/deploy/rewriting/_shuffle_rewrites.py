"""Channel shuffles, found by what they do, in other forms."""

import math

import keras
import numpy as np

from kdl.graph.copy_weights import set_weights
from kdl.ops import channel_shuffle

# What channel shuffles are made of.
MOVES = ("Reshape", "Transpose")


def _shuffle(node, view):
    """`(input, groups, axes)` of a channel shuffle that ends in this call, or None.

    Whatever steps it takes: they are carried out on the channels' numbers. `axes` is the largest
    number of axes on the way.
    """
    shape, steps = tuple(node.results[0].shape), []
    if len(shape) != 4 or None in shape[1:]:
        return None
    while node is not None and node.kind in MOVES:
        steps.insert(0, node)
        image = node.inputs[0]
        if tuple(image.shape) == shape and (groups := _groups_of_shuffle(shape, steps)):
            return image, groups, max(len(step.results[0].shape) for step in steps)
        node = view.producers.get(id(image))
    return None


def _groups_of_shuffle(shape, steps):
    """Groups of the channel shuffle that some reshapes and transposes are; None if they are none.

    Two images of numbers go through the steps, the second to see that images stay apart.
    """
    channels = shape[3]
    if channels < 4 or any(None in step.results[0].shape[1:] for step in steps):
        return None
    numbers = x = np.arange(2 * math.prod(shape[1:])).reshape(2, *shape[1:])
    for step in steps:
        if step.kind == "Reshape":
            x = x.reshape(2, *step.results[0].shape[1:])
        else:
            x = x.transpose(step.operation.axes)
    width = int(x[0, 0, 0, 1])  # the second channel is the first of the second group
    if not 1 < width < channels or channels % width:
        return None
    groups = channels // width
    return groups if np.array_equal(x, numbers[..., _shuffled(channels, groups)]) else None


def _shuffled(channels, groups):
    """Places that the channels of a channel shuffle come from."""
    return np.arange(channels).reshape(groups, -1).T.ravel()


def is_shuffle(node, view):
    """Tell if a channel shuffle ends in this call."""
    return _shuffle(node, view) is not None


def is_wide_shuffle(node, view):
    """Tell if one ends in it that has more than four axes on the way."""
    found = _shuffle(node, view)
    return found is not None and found[2] > 4


def reshaped_shuffle(node, args, view):
    """The shuffle of kdl, of four axes."""
    image, groups, _ = _shuffle(node, view)
    return channel_shuffle(view.once.new(image), groups)


def convolved_shuffle(node, args, view):
    """A 1×1 convolution with a constant permutation."""
    image, groups, _ = _shuffle(node, view)
    channels = image.shape[3]

    def make(name):
        return keras.layers.Conv2D(
            channels,
            1,
            use_bias=False,
            data_format="channels_last",
            trainable=False,
            dtype=image.dtype,
            name=f"{name}_permutation",
        )

    conv = view.once("", make)
    outputs = conv(view.once.new(image))
    order = _shuffled(channels, groups)
    set_weights(conv, [np.eye(channels, dtype="float32")[:, order][None, None]])
    return outputs
