"""What tells one ensemble from another: its parameters, and the code that they hold, as text."""

import functools
import hashlib
import inspect
import json
import re
import types

import keras
import numpy as np

_EMPTY_CELL = types.CellType()


def describe(value):
    """A text or plain value that tells a parameter's value from another, in every process alike."""
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
    plain = as_json(value)
    if plain is not None:
        return plain["value"]
    if isinstance(value, keras.Model):
        return hashlib.sha256(_with_numbered_names(value.to_json()).encode()).hexdigest()
    if isinstance(value, dict):
        return {str(key): describe(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [describe(each) for each in value]
    if isinstance(value, functools.partial):
        return [describe(part) for part in (value.func, value.args, value.keywords)]
    if inspect.isroutine(value) or inspect.isclass(value):
        return _describe_code(value)
    attributes = getattr(value, "__dict__", {})
    routines = {
        name: _describe_code(each) for name, each in attributes.items() if inspect.isroutine(each)
    }
    return {"class": describe(type(value)), **plain_values(attributes), **routines}


def _describe_code(value):
    """Name of a class or function; with it what a function does and holds."""
    name = f"{value.__module__}.{value.__qualname__}"
    code = getattr(value, "__code__", None)
    if code is None:
        return name
    held = [value.__defaults__, value.__kwdefaults__, *_closure(value)]
    # Of functions that it holds the name must do: they may hold this one.
    held = [each.__qualname__ if inspect.isroutine(each) else describe(each) for each in held]
    return [name, _digest_of_code(code), *held]


def _closure(function):
    cells = function.__closure__ or ()
    return [cell.cell_contents for cell in cells if cell != _EMPTY_CELL]


def _digest_of_code(code):
    inner = [each for each in code.co_consts if inspect.iscode(each)]
    # A set has another order in every process.
    constants = [
        sorted(map(repr, each)) if isinstance(each, frozenset) else each
        for each in code.co_consts
        if not inspect.iscode(each)
    ]
    digest = hashlib.sha256(code.co_code + repr((code.co_names, constants)).encode())
    for each in inner:
        digest.update(_digest_of_code(each).encode())
    return digest.hexdigest()


def _with_numbered_names(text):
    """A model's JSON with its layers' names numbered: Keras gives new ones to each model."""
    names = dict.fromkeys(re.findall(r'"name": ("[^"]+")', text))
    numbers = {name: f'"{number}"' for number, name in enumerate(names)}
    return re.sub(r'"[^"]+"', lambda found: numbers.get(found[0], found[0]), text)


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
        return [_plain(each) for each in value]
    return value


def plain_values(parameters):
    """Those of a dict's values that `as_json` takes."""
    found = {name: as_json(value) for name, value in parameters.items()}
    return {name: plain["value"] for name, plain in found.items() if plain is not None}
