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


# What holds itself, or goes on for ever, is told to this depth.
_DEEPEST = 4


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
    if depth > _DEEPEST:
        return type(value).__qualname__
    if isinstance(value, keras.Model):
        return hashlib.sha256(_with_numbered_names(value.to_json()).encode()).hexdigest()
    if isinstance(value, dict):
        return {str(key): within(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [within(each) for each in value]
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
        **{name: within(each) for name, each in attributes.items() if _is_told(name, each)},
    }


def _is_told(name, value):
    """Whether an attribute is its owner's own: not the model in which a callback is, say."""
    return not name.startswith("_") or as_json(value) is not None


def _config(value):
    try:
        return value.get_config()
    except NotImplementedError:  # one that cannot be written
        return {}


def _describe_code(value, describe):
    """Name of a class or function; with it what a function does and holds."""
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
