"""Measurements of LiteRT's interpreter: which operation runs on which types, and by whom.

`_cpu_table.json` is written by `python -m benchmarks cpu_check`, which runs a file of each
operation and type, and reads what the interpreter hands over to XNNPACK.
"""

import functools
import json
import pathlib

PATH = pathlib.Path(__file__).with_name("_cpu_table.json")

# Who runs an operation, from the best to the worst.
XNNPACK, KERNEL, NOTHING = "xnnpack", "kernel", "nothing"
WAYS = (XNNPACK, KERNEL, NOTHING)

# What calls other graphs takes tensors of any type and number.
_CALLS = ("CALL_ONCE", "IF", "WHILE")


@functools.cache
def cpu_table():
    """Dict of the table.

    - `runtime`, `date`, `machine`: what was measured, when and where
    - `versions`: operation → the newest version of it that the runtime has
    - `operations`: operation → way → list of signatures, as `type_signature` gives them
    """
    return json.loads(PATH.read_text())


def type_signature(operation):
    """The types of a `FileOperation`, such as `"INT8,INT32>INT8"`; neighbors of one type once."""
    if operation.name in _CALLS:
        return "any"
    return ">".join(",".join(_types(side)) for side in (operation.inputs, operation.outputs))


def measured_way(operation):
    """Who runs a `FileOperation` of such types; None if that was not measured."""
    ways = cpu_table()["operations"].get(operation.name, {})
    signature = type_signature(operation)
    return next((way for way in WAYS if signature in ways.get(way, ())), None)


def _types(tensors):
    types = [tensor.type for tensor in tensors if tensor is not None]
    return [kind for i, kind in enumerate(types) if not i or types[i - 1] != kind]
