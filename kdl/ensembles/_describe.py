"""Descriptions of parameters, and of the code that they hold, to tell ensembles apart."""

import functools
import hashlib
import inspect
import json
import re
import types

import keras
import numpy as np

_EMPTY_CELL = types.CellType()


# Values that hold themselves, or go on for ever, are described to this depth.
_MAX_DEPTH = 4


def describe(value, depth=0):
    """A text or plain value that tells a parameter's value from another, in every process alike.

    Args:
        value: The value.
        depth: How many values it lies in.
    """
    within = functools.partial(describe, depth=depth + 1)
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
    plain = as_json(value)
    if plain is not None:
        return plain["value"]
    if inspect.ismodule(value):
        return value.__name__
    if depth > _MAX_DEPTH:
        return type(value).__qualname__
    if isinstance(value, keras.Model):
        return hashlib.sha256(_with_numbered_names(value.to_json()).encode()).hexdigest()
    if isinstance(value, dict):
        return {str(key): within(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [within(item) for item in value]
    if isinstance(value, functools.partial):
        return [within(part) for part in (value.func, value.args, value.keywords)]
    if inspect.ismethod(value):
        return [_describe_code(value.__func__, within), within(value.__self__)]
    if inspect.isroutine(value) or inspect.isclass(value):
        return _describe_code(value, within)
    if keras.ops.is_tensor(value):
        return within(keras.ops.convert_to_numpy(value))
    attributes = _config(value) if hasattr(value, "get_config") else getattr(value, "__dict__", {})
    return {
        "class": within(type(value)),
        **{name: within(item) for name, item in attributes.items() if _is_own(name, item)},
    }


def _is_own(name, value):
    """True if an attribute is its owner's own: not the model in which a callback is, say."""
    return not name.startswith("_") or as_json(value) is not None


def _config(value):
    try:
        return value.get_config()
    except NotImplementedError:  # one that cannot be written
        return {}


def _describe_code(value, describe):
    """Name of a class or function; of a function also its code, defaults and closure."""
    name = f"{value.__module__}.{value.__qualname__}"
    code = getattr(value, "__code__", None)
    if code is None:
        return name
    held = [value.__defaults__, value.__kwdefaults__, *_closure(value)]
    return [name, _digest_of_code(code), *map(describe, held)]


def _closure(function):
    cells = function.__closure__ or ()
    return [cell.cell_contents for cell in cells if cell != _EMPTY_CELL]


def _digest_of_code(code):
    inner = [item for item in code.co_consts if inspect.iscode(item)]
    # A set has another order in every process.
    constants = [
        sorted(map(repr, item)) if isinstance(item, frozenset) else item
        for item in code.co_consts
        if not inspect.iscode(item)
    ]
    digest = hashlib.sha256(code.co_code + repr((code.co_names, constants)).encode())
    for item in inner:
        digest.update(_digest_of_code(item).encode())
    return digest.hexdigest()


def _with_numbered_names(text):
    """A model's JSON with its layers' names numbered: Keras gives new ones to each model."""
    names = dict.fromkeys(re.findall(r'"name": ("[^"]+")', text))
    numbers = {name: f'"{number}"' for number, name in enumerate(names)}
    return re.sub(r'"[^"]+"', lambda match: numbers.get(match[0], match[0]), text)


def as_json(value):
    """`{"value": value}` if JSON gives it back as it is, else None."""
    value = _plain(value)
    try:
        same = json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        return None
    return {"value": value} if same else None


def _plain(value):
    """Small arrays, NumPy's numbers and tuples as lists and numbers."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size <= 1000):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def plain_values(parameters):
    """Those of a dict's values that `as_json` takes."""
    plain = {name: as_json(value) for name, value in parameters.items()}
    return {name: value["value"] for name, value in plain.items() if value is not None}
