"""The names of a package: what it shows, and what is looked up in use, as it needs Keras.

A program that only runs a `.tflite` file imports `kdl.deploy` and `kdl.data`, and has no Keras.
"""

import importlib
import sys

from kdl._deprecation import renamed


def import_with_keras(name, wanted=None):
    """The module `name`; without Keras, an ImportError of one line that says what needs it.

    Args:
        name: Full name of a module of kdl.
        wanted: What the message says is needed. Defaults to `name`.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "keras":
            raise
        raise ImportError(f"{wanted or name} needs Keras: pip install keras") from None


def lazy_names(namespace, homes, before=None):
    """The functions `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        namespace: `globals()` of the package.
        homes: Dict: public name → module of the package that defines it; `__all__` has it, too.
        before: Dict: name of before → public name of today, if some were renamed.
    """
    package = namespace["__name__"]

    def look_up(name):
        today = renamed(package, before or {}, name)
        if today is not None:
            return getattr(sys.modules[package], today)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}.")
        value = getattr(import_with_keras(f"{package}.{homes[name]}", f"{package}.{name}"), name)
        namespace[name] = value
        return value

    return look_up, names_in_all(namespace)


def names_in_all(namespace):
    """The function `__dir__` of a package: what is public, without modules and what they import.

    Args:
        namespace: `globals()` of the package, which has `__all__`.
    """
    return lambda: sorted(namespace["__all__"])
