"""Shapes: comparison where sizes may be dynamic, and broadcasting along one axis."""


def shapes_match(shape, other):
    """Tell whether two shapes may be equal: as many axes, and known sizes alike.

    Args:
        shape: The size of each axis, None where it is dynamic.
        other: As `shape`.

    Example:
        >>> shapes_match((None, 3), (2, 3)), shapes_match((2, 3), (2, 3, 1))
        (True, False)
    """
    pairs = zip(shape, other, strict=False)
    return len(shape) == len(other) and all(a == b for a, b in pairs if None not in (a, b))


def along_axis(axis, rank, size=-1):
    """Shape of a vector that lies along one axis of a tensor, to broadcast over it.

    Args:
        axis: The axis.
        rank: Number of axes of the tensor.
        size: Length of the vector.

    Example:
        >>> along_axis(1, 3)
        [1, -1, 1]
    """
    shape = [1] * rank
    shape[axis] = size
    return shape
