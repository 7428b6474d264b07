"""The benchmarks: one entry, which names them all."""

import importlib
import re
import subprocess
import sys

import keras
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="of no backend: once")


@pytest.fixture
def entry(root, monkeypatch):
    monkeypatch.syspath_prepend(root)
    return importlib.import_module("benchmarks.__main__")


def test_every_module_is_listed_with_its_results(entry, root):
    folder = root / "benchmarks"
    modules = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert set(entry.BENCHMARKS) == modules
    pages = {path.name for path in (folder / "results").glob("*.md")}
    assert {benchmark.results for benchmark in entry.BENCHMARKS.values()} == pages


def test_list_tells_purpose_cost_and_results(root):
    command = [sys.executable, "-m", "benchmarks"]
    listed = subprocess.run([*command, "--list"], cwd=root, capture_output=True, text=True)
    bare = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert listed.returncode == bare.returncode == 0, listed.stderr + bare.stderr
    assert listed.stdout == bare.stdout
    assert re.search(
        r"imports +seconds that .*\n +a minute → benchmarks/results/imports.md", bare.stdout
    )
    assert "one after the other: digits, folding, imports, layers" in bare.stdout


def test_all_runs_what_is_quick_in_turn(entry, monkeypatch):
    started = []
    monkeypatch.setattr(entry, "run", lambda name, arguments: started.append((name, arguments)))
    entry.main(["all"])
    assert started == [(name, []) for name in ("digits", "folding", "imports", "layers")]
    started.clear()
    entry.main(["latency", "--threads", "2"])
    assert started == [("latency", ["--threads", "2"])]


@pytest.mark.parametrize("arguments", [["speed"], ["all", "--epochs", "1"]])
def test_unknown_benchmark_ends_with_the_list(entry, arguments):
    with pytest.raises(SystemExit, match=r"(?s)no benchmark 'speed'|no arguments.*usage"):
        entry.main(arguments)


@pytest.mark.parametrize(
    "name",
    [
        *("applications", "cifar10", "cpu_check", "digits", "folding", "gpu_check"),
        *("gpu_operations", "imports", "latency", "layers", "losses", "quantization"),
    ],
)
def test_help_of_a_benchmark_tells_its_arguments(entry, name, capsys):
    assert name in entry.BENCHMARKS
    with pytest.raises(SystemExit) as ended:
        entry.main([name, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: python -m benchmarks {name}")
    assert "--help" in printed


def test_commands_in_pages_name_benchmarks(entry, root):
    folder = root / "benchmarks"
    pages = [folder / "README.md", *(folder / "results").glob("*.md")]
    named = [
        name
        for page in pages
        for name in re.findall(r"python -m benchmarks (\w+)", page.read_text())
    ]
    assert set(named) - {"NAME", "all"} == set(entry.BENCHMARKS)
