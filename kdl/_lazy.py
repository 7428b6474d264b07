"""Names of a room that are looked up when they are used, since they need Keras.

A program that only runs a `.tflite` file imports `kdl.deploy` and `kdl.data`, and has no Keras.
"""

import importlib


def lazy_names(namespace, homes):
    """The functions `__getattr__` and `__dir__` of a room (PEP 562).

    Args:
        namespace: `globals()` of the room.
        homes: Dict: public name → module of the room that defines it.
    """
    room = namespace["__name__"]

    def look_up(name):
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}.")
        value = getattr(importlib.import_module(f"{room}.{homes[name]}"), name)
        namespace[name] = value
        return value

    def list_names():
        return sorted({*namespace, *homes})

    return look_up, list_names
