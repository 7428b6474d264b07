"""What LiteRT's interpreter does with `.tflite` files: what XNNPACK takes, and what runs at all.

Run as a script it is the child process: a file that ends it takes no other along.
"""

import collections
import json
import os
import pathlib
import subprocess
import sys

_WAYS = ("inputs", "outputs")
DIED = {"left": None, "runs": False, "plain": False, "error": "it ended its process"}


def measure(paths):
    """For each file a dict.

    - `left`: the numbers of the operations that XNNPACK leaves to TFLite's own kernels
    - `runs`: whether the interpreter runs the file; `plain`: whether it does without XNNPACK
    - `error`: what it says if it does not run
    """
    found = []
    while len(found) < len(paths):
        todo = [os.fspath(path) for path in paths[len(found) :]]
        done = subprocess.run(
            [sys.executable, "-P", __file__],
            input=json.dumps(todo),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=600,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"left"')]
        found += map(json.loads, lines)
        if done.returncode and len(lines) < len(todo):
            if not lines and "Traceback" in done.stderr:
                raise RuntimeError(done.stderr)
            found.append(DIED)
    return found


def verdict(measured):
    """What `check(path, "cpu")` should say of a file whose operations were measured together."""
    if not measured["runs"]:
        return "refused"
    return "may fall back" if measured["left"] else "runs"


def table(paths, results):
    """Dict: operation → way → signatures, as `kdl.deploy.devices._cpu_table` reads it.

    An operation that runs in any file is told by the best: its parameters are up to the rules.
    """
    from kdl.deploy.devices._cpu_table import KERNEL, NOTHING, WAYS, XNNPACK, type_signature
    from kdl.deploy.tflite.graph import read_operations

    best = {}
    for path, measured in zip(paths, results, strict=True):
        operations = [o for o in read_operations(path).operations if o.graph == 0]
        if not measured["runs"] and len(operations) > 1:
            continue
        for number, operation in enumerate(operations):
            way = NOTHING
            if measured["runs"]:
                way = KERNEL if number in measured["left"] else XNNPACK
            key = operation.name, type_signature(operation)
            best[key] = min(best.get(key, NOTHING), way, key=WAYS.index)
    found = {}
    for (name, signature), way in sorted(best.items()):
        found.setdefault(name, {}).setdefault(way, []).append(signature)
    return {
        name: ways
        for name, ways in found.items()
        if not name.startswith("custom:") or set(ways) != {NOTHING}
    }


def _measure(path):
    from ai_edge_litert.interpreter import OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    left, error = _run(path, {})
    _, plain_error = _run(path, {"experimental_op_resolver_type": plain})
    return {"left": left, "runs": not error, "plain": not plain_error, "error": error}


def _run(path, options):
    """`(operations left to TFLite, error)` of one run on inputs of ones."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    left = None
    try:
        interpreter = Interpreter(path, num_threads=1, **options)
        interpreter.allocate_tensors()
        left = _left(interpreter)
        for details in interpreter.get_input_details():
            interpreter.set_tensor(details["index"], np.ones(details["shape"], details["dtype"]))
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        return left, " ".join(str(error).split()) or type(error).__name__
    return left, ""


def _left(interpreter):
    """Numbers of the operations outside XNNPACK's partitions.

    The interpreter lists the operations of the file, and after them one `DELEGATE` for each
    partition with its inputs and outputs: what lies between these was taken, and so was each reader
    of a tensor that is made there and is none of its outputs.
    """
    details = interpreter._get_ops_details()
    operations = [d for d in details if d["op_name"] != "DELEGATE"]
    makers = {int(t): i for i, d in enumerate(operations) for t in d["outputs"]}
    readers = collections.defaultdict(list)
    for number, operation in enumerate(operations):
        for tensor in map(int, operation["inputs"]):
            readers[tensor].append(number)
    taken = set()
    for partition in (d for d in details if d["op_name"] == "DELEGATE"):
        entries, exits = (set(map(int, partition[way])) for way in ("inputs", "outputs"))
        todo = [makers[t] for t in exits]
        while todo:
            number = todo.pop()
            taken.add(number)
            read, given = ({int(t) for t in operations[number][way]} for way in _WAYS)
            near = [makers[t] for t in read - entries if t in makers]
            near += [reader for t in given - exits for reader in readers[t]]
            todo += [other for other in near if other not in taken]
    return [number for number in range(len(operations)) if number not in taken]


if __name__ == "__main__":
    for name in json.load(sys.stdin):
        print(json.dumps(_measure(str(pathlib.Path(name)))), flush=True)
