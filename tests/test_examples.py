"""Each example of a paper runs, on few images for one epoch."""

import argparse
import json
import pathlib
import runpy
import sys
import warnings

import keras
import pytest

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "examples"
PAPERS = sorted(
    p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_") and p.stem != "quickstart"
)
EXPORTING = ("edge_tpu", "mobile_gpu", "quantization")


def _marked(paper):
    return pytest.param(paper, marks=pytest.mark.export if paper in EXPORTING else ())


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="on the backend that starts fastest")
@pytest.mark.parametrize("paper", [_marked(paper) for paper in PAPERS])
def test_smoke(paper, tmp_path, monkeypatch, capsys):
    """In this process: to start another one takes longer than most examples."""
    path = FOLDER / f"{paper}.py"
    arguments = [path, "--smoke", "--output", tmp_path / "run"]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    monkeypatch.syspath_prepend(FOLDER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path(str(path), run_name="__main__")
    rows = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(rows) >= 2
    assert all(0 <= row["accuracy"] <= 1 and row["macs"] > 1e4 for row in rows)
    assert (tmp_path / "run" / "accuracy.png").stat().st_size > 5_000
    printed = capsys.readouterr().out
    for row in rows:
        assert row["name"] in printed
    if paper == "resnext":  # several networks, each named before its epochs
        begun = [line.split()[-1] for line in printed.splitlines() if line.startswith("Training ")]
        assert begun == ["1×64d", "32×4d"]


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="once: no backend takes part")
def test_results_lie_where_the_example_is_called_and_apart_from_those_of_smoke(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from _shared import output_folder

    folders = [
        output_folder(argparse.Namespace(output=output, smoke=smoke), "resnext")
        for output, smoke in ((None, False), (None, True), (pathlib.Path("x"), True))
    ]
    assert list(map(str, folders)) == ["runs/resnext", "runs/resnext-smoke", "x"]
