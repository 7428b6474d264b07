"""What LiteRT's interpreter runs, and what XNNPACK takes of it: the table behind `check`'s "cpu".

    python -m benchmarks cpu_check

A file of each operation and type of numbers (`tests/deploy/cpu_zoo.py`) is run with and without
XNNPACK in a process that may die, and what the interpreter hands over is read from it. The results
are `kdl/deploy/devices/_cpu_table.json`, which the rules read, and
`benchmarks/results/cpu_check.md`. It takes a minute, and is to be run again with each new version
of ai-edge-litert.
"""

import datetime
import importlib.metadata
import json
import pathlib
import platform
import tempfile

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from benchmarks._children import RESULTS, make_parser
from benchmarks._zoo import cpu_runtime, cpu_zoo
from kdl.deploy.devices._cpu_table import PATH, WAYS
from kdl.deploy.tflite.file import enum_names

MOST_VERSIONS = 20


def main(arguments=None):
    """Measures everything, and writes the table and the page."""
    make_parser("cpu_check", __doc__).parse_args(arguments)
    found = {
        "runtime": importlib.metadata.version("ai-edge-litert"),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "operations": measure(cpu_zoo.files()),
    }
    PATH.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "cpu_check.md").write_text(page(found))


def measure(files):
    """Dict: operation → way → signatures, of a dict of functions of a `TinyFile`."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            cpu_zoo.write(build, pathlib.Path(folder) / f"{number}.tflite")
            for number, build in enumerate(files.values())
        ]
        return cpu_runtime.table(paths, cpu_runtime.measure(paths))


def versions():
    """Dict: operation of the schema → the newest version of it that the runtime has."""
    newest = {}
    for number, name in sorted(enum_names(schema.BuiltinOperator).items()):
        for version in range(1, MOST_VERSIONS + 1):
            if has(number, version):
                newest[name] = version
    return newest


def has(number, version):
    """Whether the runtime opens a file without operations that names one."""
    code, model, graph = schema.OperatorCodeT(), schema.ModelT(), schema.SubGraphT()
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    code.version = version
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(64)
    builder.Finish(model.Pack(builder), b"TFL3")
    try:
        Interpreter(model_content=bytes(builder.Output()))
    except ValueError:
        return False
    return True


def page(found):
    """The table as Markdown."""
    absent = sorted(set(enum_names(schema.BuiltinOperator).values()) - set(found["versions"]))
    unmeasured = sorted(set(found["versions"]) - set(found["operations"]))
    lines = [
        "# Operations on the CPU",
        "",
        f"Made by `python -m benchmarks cpu_check` on {found['date']} with ai-edge-litert "
        f"{found['runtime']}, {found['machine']}. Types of inputs > of outputs, neighbors of one "
        "type once. *XNNPACK*: the interpreter hands it over; *TFLite*: its own kernel runs it; "
        "*neither*: the file does not run.",
        "",
        "| operation | XNNPACK | TFLite | neither |",
        "| --- | --- | --- | --- |",
    ]
    for name, ways in sorted(found["operations"].items()):
        cells = [", ".join(ways.get(way, [])).lower() or "–" for way in WAYS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", f"The runtime has no kernel of: {', '.join(absent)}.", ""]
    lines += [f"It has kernels that were not run: {', '.join(unmeasured)}."]
    return "\n".join(lines) + "\n"
