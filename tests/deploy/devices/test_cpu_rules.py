"""The rules for CPUs beside what LiteRT's interpreter does with a file of each operation."""

import importlib.metadata

import cpu_runtime
import cpu_zoo
import pytest

from kdl.deploy import check
from kdl.deploy.devices import _cpu_facts as facts
from kdl.deploy.devices import _operation_facts as any_facts
from kdl.deploy.devices._cpu_rules import CPU
from kdl.deploy.devices._cpu_table import cpu_table
from kdl.deploy.tflite.graph import read_operations


def sample():
    """All whose parameters decide, and of the others a part: the benchmark `cpu_check` runs all."""
    usual = [
        f"{name} {kind}"
        for number, name in enumerate(cpu_zoo.PLAIN)
        for kind in ("FLOAT32", cpu_zoo.TYPES[number % len(cpu_zoo.TYPES)])
    ]
    special = [f"{name} {kind}" for name in cpu_zoo.SPECIAL for kind in ("FLOAT32", "INT8")]
    scaled = [f"{name} INT8" for name in cpu_zoo.SCALED]
    return list(dict.fromkeys([*cpu_zoo.GRAPHS, *usual, *special, *scaled]))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Name → file."""
    folder, files = tmp_path_factory.mktemp("zoo"), cpu_zoo.files()
    return {
        name: cpu_zoo.write(files[name], folder / f"{number}.tflite")
        for number, name in enumerate(sample())
    }


@pytest.fixture(scope="module")
def measured(paths):
    """Name → what the interpreter did."""
    return dict(zip(paths, cpu_runtime.measure(list(paths.values())), strict=True))


def test_each_operation_is_judged_as_the_interpreter_treats_it(paths, measured):
    wrong = {}
    for name, path in paths.items():
        verdicts = [o.verdict for o in check(path, "cpu").operations]
        left = measured[name]["left"]
        if measured[name]["runs"]:
            expected = ["may fall back" if i in left else "runs" for i in range(len(verdicts))]
            pairs = zip(verdicts, expected, read_operations(path).operations, strict=True)
            agrees = all(one == other for one, other, read in pairs if read.graph == 0)
        else:
            agrees = "refused" in verdicts
        if not agrees:
            wrong[name] = (verdicts, measured[name])
    assert wrong == {}


def test_the_table_is_that_of_the_installed_runtime(paths, measured):
    assert cpu_table()["runtime"] == importlib.metadata.version("ai-edge-litert")
    table = cpu_table()["operations"]
    for name, ways in cpu_runtime.table(list(paths.values()), list(measured.values())).items():
        for way, signatures in ways.items():
            known = set(table[name].get(way, ()))
            better = {s for other in table[name].values() for s in other} - known
            # A sample may have only the file whose parameters make it worse.
            assert set(signatures) <= known | (better if way != "xnnpack" else set())


def test_every_rule_is_broken_by_a_file(paths):
    """But for the one of operations that the schema does not know, which `test_check.py` has."""
    broken = set()
    for path in paths.values():
        for operation in read_operations(path).operations:
            broken |= {id(rule) for rule, _ in CPU.broken(operation)}
    elsewhere = (any_facts.beyond_schema, facts.absent, facts.too_new)
    never = [r.cause for r in CPU.rules if id(r) not in broken and r.when not in elsewhere]
    assert never == []
