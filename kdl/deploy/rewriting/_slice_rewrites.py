"""Splits, slices and running sums in forms that a device takes."""

import keras
from keras import ops


def rejoined(node, view):
    """Tell if an operation reads several parts of this split and nothing else."""
    own = {id(x) for x in node.results}
    consumers = [consumer for x in node.results for consumer in view.consumers[id(x)] if consumer]
    return any(len({id(x) for x in r.inputs}) > 1 and _all_of(r, own) for r in consumers)


def _all_of(node, ids):
    return all(id(x) in ids for x in node.inputs)


def sliced(node, args, view):
    """A slice for each part of a split."""
    axis = node.operation.axis % len(args[0].shape)
    parts, start = [], 0
    for part in node.results:
        stop = start + part.shape[axis]
        index = tuple(slice(start, stop) if i == axis else slice(None) for i in range(axis + 1))
        parts.append(args[0][index])
        start = stop
    return parts


def only_part(node, view):
    """Tell if a split gives one part."""
    return len(node.results) == 1


def whole(node, args, view):
    """The tensor that it splits."""
    return [args[0]]


def counts_from_end(node, view):
    """Tell if an axis is counted from the end."""
    axis = node.operation.axis
    return axis is not None and axis < 0


def summed_from_front(node, args, view):
    """The sum along an axis counted from the front."""
    axis = node.operation.axis % len(args[0].shape)
    return ops.cumsum(args[0], axis=axis, dtype=node.operation.dtype)


def _steps(node):
    """Steps of a slice of images over height and width alone; None for any other."""
    if len(node.args) != 2 or not isinstance(node.args[1], list | tuple) or len(node.inputs) != 1:
        return None
    index, rank = tuple(node.args[1]), len(node.args[0].shape)
    if rank != 4 or len(index) > 4 or not all(isinstance(part, slice) for part in index):
        return None
    steps = [part.step or 1 for part in index] + [1] * (4 - len(index))
    inner = [part for part in index[:1] + index[3:] if part != slice(None)]
    return None if inner or min(steps) < 1 else tuple(steps[1:3])


def steps_over_pixels(node, view):
    """Tell if a slice has steps over the pixels."""
    return (_steps(node) or (1, 1)) != (1, 1)


def pooled_slice(node, args, view):
    """The slice without steps, then a 1×1 pooling with strides."""
    index = tuple(slice(part.start, part.stop) for part in node.args[1])
    whole = all(part == slice(None) for part in index)
    x = args[0] if whole else args[0][index]
    pool = keras.layers.MaxPooling2D(
        1, strides=_steps(node), data_format="channels_last", name=f"{node.name}_steps"
    )
    return pool(x)
