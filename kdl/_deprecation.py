"""Public names that were renamed: they work for two minor versions, and warn."""

import functools
from typing import Any

from kdl._warn import warn


def renamed(package, names, name):
    """Today's name of a renamed name of a package, with a warning; None if it was not renamed.

    Args:
        package: Full name of the package.
        names: Dict: name of before → name of today.
        name: The name that is looked up.
    """
    today = names.get(name)
    if today is not None:
        warn(f"{package}.{name} is now {package}.{today}; use that.", FutureWarning)
    return today


def renamed_argument(before, today):
    """Decorator of a function that takes an argument under its name of before, too.

    Args:
        before: The name of before, which warns.
        today: The name of today.
    """

    def decorate(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            if before in kwargs:
                if today in kwargs:
                    raise TypeError(f"{function.__name__} takes {today}; {before} is its old name.")
                warn(f"The argument {before} is now {today}; use that.", FutureWarning)
                kwargs[today] = kwargs.pop(before)
            return function(*args, **kwargs)

        return call

    return decorate


def renamed_attribute(before, today):
    """Property for an attribute that had another name before.

    Args:
        before: The name of before, which warns.
        today: The name of today.
    """

    def read(instance: Any) -> Any:
        warn(f"The attribute {before} is now {today}; use that.", FutureWarning)
        return getattr(instance, today)

    return _Hidden(read, doc=f"Renamed: `{today}`.")


class _Hidden(property):
    """A property that `dir` leaves out: Keras reads whatever stands there when it saves a layer."""

    def __set_name__(self, owner, name):
        listed = owner.__dir__
        owner.__dir__ = lambda instance: [each for each in listed(instance) if each != name]


def renamed_keys(values, names):
    """A dict by the keys of today; keys of before warn.

    Args:
        values: The dict.
        names: Dict: key of before → key of today.
    """
    before = [key for key in names if key in values and names[key] not in values]
    for key in before:
        warn(f"The key {key!r} is now {names[key]!r}; use that.", FutureWarning)
    return {names[key] if key in before else key: value for key, value in values.items()}
