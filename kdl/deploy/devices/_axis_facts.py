"""Facts about axes and parts, for the rules: each gives a text of what it found, or nothing."""

import numpy as np


def over_batch(operation):
    """An operation along the first axis, its axes given by its second input."""
    axes = _axes(operation)
    if axes is None:
        return "axes that are computed"
    return "the first axis" if 0 in axes and operation.inputs[0].rank > 1 else ""


def over_odd_channels(operation):
    """A reduction over channels whose number 4 does not divide."""
    axes, x = _axes(operation), operation.inputs[0]
    if axes is None or x.rank - 1 not in axes or x.shape[-1] % 4 == 0:
        return ""
    return f"{x.shape[-1]} channels"


def splits_batch(operation):
    """A split along the first axis."""
    position = 2 if operation.name == "SPLIT_V" else 0
    axes = _axes(operation, position, rank=operation.outputs[0].rank)
    return "the first axis" if axes is None or 0 in axes else ""


def parts_of_one_split(operation):
    """Several computed float inputs, all of which are parts of one split."""
    pairs = zip(operation.inputs, operation.producers, strict=True)
    producers = [producer for x, producer in pairs if x is not None and not x.constant]
    if len(producers) < 2 or operation.outputs[0].type != "FLOAT32":
        return ""
    first = producers[0]
    one = first is not None and all(producer is first for producer in producers)
    parts = {x.index for x in operation.variables}
    if not one or not first.name.startswith("SPLIT") or len(parts) < 2:
        return ""
    return f"{len(parts)} parts of #{first.index} {first.name}"


def packs_batch(operation):
    """A pack along the first axis."""
    axis = operation.option("axis", 0) % max(operation.outputs[0].rank, 1)
    return "the first axis" if axis == 0 and operation.outputs[0].rank > 1 else ""


def only_part(operation):
    """A split into one part."""
    return "one part" if len(operation.outputs) == 1 else ""


def negative_axis(operation):
    """An axis, given by its second input, that is counted from the end."""
    values = operation.inputs[1].values
    return "" if values is None or np.all(values >= 0) else str(int(np.min(values)))


def fewer_axes(operation):
    """A slice that names only the first axes."""
    begin, rank = operation.inputs[1], operation.inputs[0].rank
    return f"{begin.elements} of {rank} axes" if begin.elements < rank else ""


def moves_sizes(operation):
    """A reshape that changes more than the axes of size 1."""
    before, after = operation.inputs[0].shape, operation.outputs[0].shape
    if [n for n in before if n > 1] == [n for n in after if n > 1]:
        return ""
    return f"{'×'.join(map(str, before))} to {'×'.join(map(str, after))}"


def squeezes_inner(operation):
    """A squeeze of an axis that comes after one above 1."""
    before, after = operation.inputs[0].shape, operation.outputs[0].shape
    kept = before[len(before) - len(after) :]
    return "" if kept == after else "×".join(map(str, before))


def strided_or_masked(operation):
    """A slice that takes steps, or adds or elides axes."""
    steps = operation.inputs[3].values if len(operation.inputs) > 3 else None
    if steps is None or np.any(steps != 1):
        return "steps other than 1"
    masked = operation.option("ellipsisMask") or operation.option("newAxisMask")
    return "a mask of ellipsis or new axis" if masked else ""


def shrinks(operation):
    """A slice that takes away axes."""
    return "an axis" if operation.option("shrinkAxisMask") else ""


def backward_steps(operation):
    """A slice that goes backward."""
    steps = operation.inputs[3].values if len(operation.inputs) > 3 else None
    return "" if steps is None or np.all(steps > 0) else ", ".join(map(str, steps))


def _axes(operation, position=1, rank=None):
    """The axes that a constant input names, counted from the front; None if it is computed."""
    given = operation.input(position)
    if given is None or given.values is None:
        return None
    rank = operation.inputs[0].rank if rank is None else rank
    return {int(axis) % rank for axis in np.ravel(given.values)} if rank else set()
