"""Each operation on a mobile GPU's accelerator: what `check` says, and what it does.

    python -m benchmarks gpu_operations

The files of `tests/deploy/cpu_zoo.py` that a CPU runs, in float32 and int8, are run on LiteRT's GPU
accelerator, alone and in a process that may die, and the outputs are compared with the CPU's. It
needs a Vulkan driver and a quarter of an hour; what is finished is kept in
`benchmarks/results/gpu_operations.json`, so an interrupted run goes on. The tables of
`kdl/deploy/devices/_gpu_rules.py` follow from `benchmarks/results/gpu_operations.md`.
"""

import datetime
import importlib.metadata
import json
import pathlib
import tempfile

from benchmarks._children import RESULTS, make_parser
from benchmarks._zoo import cpu_zoo
from kdl.deploy import check

TYPES = ("FLOAT32", "INT8")
ORDER = ("runs", "may fall back", "unknown", "refused")


def main(arguments=None):
    """Measures what is not in the results yet, and writes the page."""
    make_parser("gpu_operations", __doc__).parse_args(arguments)
    kept = RESULTS / "gpu_operations.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    builds = cpu_zoo.files()
    with tempfile.TemporaryDirectory() as folder:
        for name in names():
            if name not in rows:
                path = cpu_zoo.write(builds[name], pathlib.Path(folder) / "operation.tflite")
                if check(path, "cpu").verdict == "refused":
                    continue
                rows[name] = judge(path)
                kept.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    (RESULTS / "gpu_operations.md").write_text(page(rows))


def names():
    """The files of several operations, and those of one in both types."""
    groups = (cpu_zoo.PLAIN, cpu_zoo.SPECIAL)
    return [*cpu_zoo.GRAPHS] + [f"{n} {kind}" for g in groups for n in g for kind in TYPES]


def judge(path):
    """What the tables say of a file, and what becomes of it."""
    report = check(path, "gpu", run=True)
    return {
        "verdict": max((o.verdict for o in report.operations), key=ORDER.index),
        "outcome": report.run.outcome,
        "named": [f"{name}: {reason}" for name, reason in report.run.refused],
        "agrees": report.agrees,
    }


def page(rows):
    """The rows as Markdown, without what the CPU does not run either."""
    compared = {name: row for name, row in rows.items() if row["agrees"] is not None}
    differ = {name: row for name, row in compared.items() if not row["agrees"]}
    version = importlib.metadata.version("ai-edge-litert")
    lines = [
        "# Operations on LiteRT's GPU accelerator",
        "",
        f"Made by `python -m benchmarks gpu_operations` on {datetime.date.today()} with "
        f"ai-edge-litert {version} and a software Vulkan driver: correctness, never speed. "
        f"{len(compared)} files were compared with the CPU on random inputs; of {len(differ)} "
        "`check` says otherwise (✗).",
        "",
        "| file | `check` | accelerator |",
        "| --- | --- | --- |",
    ]
    for name, row in (differ | compared).items():
        mark = " ✗" if name in differ else ""
        reasons = f": {'; '.join(row['named'])}" if row["named"] else ""
        lines.append(f"| {name} | {row['verdict']} | {row['outcome']}{reasons}{mark} |")
    return "\n".join(lines) + "\n"
