"""Checks of the constructors' arguments."""

import numpy as np

TASKS = ("classification", "regression")
_SET_BY_FIT = ("x", "y", "sample_weight")


def check_positive(name, value):
    """Raise ValueError unless a value is a positive, finite number."""
    if not isinstance(value, int | float | np.number) or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive number; received {value!r}.")


def check_fit_arguments(arguments):
    """Raise ValueError unless they are a dict without the arguments that `fit` sets itself."""
    if arguments is not None and not isinstance(arguments, dict):
        raise ValueError(f"fit_arguments must be a dict or None; received {arguments!r}.")
    taken = [name for name in _SET_BY_FIT if name in (arguments or {})]
    if taken:
        raise ValueError(f"fit_arguments may not hold {', '.join(taken)}: pass it to fit.")


def check_named_members(members):
    """Raise ValueError unless they are `(name, build)` or `(name, build, fit_arguments)`."""
    if not isinstance(members, list | tuple) or not members:
        raise ValueError(f"members must be a list of (name, build); received {members!r}.")
    for member in members:
        pair = isinstance(member, tuple | list) and len(member) in (2, 3)
        if not pair or not isinstance(member[0], str):
            raise ValueError(
                f"members must hold (name, build) or (name, build, fit_arguments); one is "
                f"{member!r}."
            )
        if len(member) == 3:
            check_fit_arguments(member[2])
    names = [member[0] for member in members]
    if len(set(names)) < len(names):
        raise ValueError(f"The members' names must differ; received {', '.join(names)}.")
