"""Checks of arguments, each with one meaning."""

import operator


def check_integer(name, value, least=1, most=None):
    """A whole number in a range, as an `int`.

    Whatever counts as an integer for Python does, also NumPy's, which `labels.max() + 1` gives.
    Truth values and floats do not.

    Args:
        name: Name of the argument, for the message.
        value: The number.
        least: Smallest number allowed. Defaults to 1.
        most: Largest number allowed, or None (default) for no limit.

    Raises:
        ValueError: If it is no integer, or out of range.

    Example:
        >>> check_integer("classes", 5)
        5
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        raise ValueError(f"{name} must be {_expected(least, most)}; received {value!r}.")
    return number


def check_choice(name, value, choices):
    """The value, if it is one of the choices.

    Args:
        name: Name of the argument, for the message.
        value: The value.
        choices: What it may be.

    Raises:
        ValueError: If it is none of them.

    Example:
        >>> check_choice("padding", "same", ("same", "valid"))
        'same'
    """
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {known}; received {value!r}.")
    return value


def is_integer(value):
    """Tell if Python takes a value for an integer; truth values are none.

    Example:
        >>> is_integer(3), is_integer(3.0), is_integer(True)
        (True, False, False)
    """
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def _expected(least, most):
    if most is not None:
        return f"an integer from {least} to {most}"
    return "a positive integer" if least == 1 else f"an integer of at least {least}"
