"""Comparison of shapes of which some sizes may be dynamic."""


def shapes_match(shape, other):
    """Whether two shapes may be equal: as many axes, and known sizes alike.

    Args:
        shape: The size of each axis, None where it is dynamic.
        other: As `shape`.

    Example:
        >>> shapes_match((None, 3), (2, 3)), shapes_match((2, 3), (2, 3, 1))
        (True, False)
    """
    pairs = zip(shape, other, strict=False)
    return len(shape) == len(other) and all(a == b for a, b in pairs if None not in (a, b))
