"""All reports have one form: printed, as JSON, saved by the ending of the file."""

import json

import numpy as np
import pytest

from kdl._report import Report, as_json
from kdl.compression import KeptFloat, LayerSparsity, QuantizationReport, SparsityReport
from kdl.deploy import (
    Benchmark,
    DeviceReport,
    DeviceRun,
    Latency,
    OperationTime,
    OperationVerdict,
    OutputComparison,
    Tolerances,
    Verification,
)
from kdl.detection import anchor_coverage
from kdl.training import Comparison

OPERATION = OperationVerdict(0, "ADD", "sum", ["f32 (1)"], ["f32 (1)"], [], 0, "runs", "", "", "")
OUTPUT = OutputComparison(
    name="größe",
    kind="scores",
    shape=(2,),
    samples=3,
    cosine=1.0,
    max_error=0.0,
    output_range=1.0,
    relative_error=0.0,
    sqnr=float("inf"),
    channel_sqnr=None,
    agreement=1.0,
    compared=3,
    varies=True,
    faults=(),
    tolerances=Tolerances(20.0),
)
PROFILE = (OperationTime("CONV", 0.5),)
KINDS = {"path": "m.tflite", "quantization": "int8"}

REPORTS = [
    DeviceReport("m.tflite", "gpu", "a GPU", [OPERATION], DeviceRun("ran", "", [], np.nan, 0.0)),
    Verification("m.tflite", "int8", 3, (OUTPUT,)),
    Latency(times=(1.0, 2.0), threads=1),
    Benchmark(
        times=(1.0, 2.0), threads=1, size=9, memory=8, idle_memory=7, profile=PROFILE, **KINDS
    ),
    QuantizationReport(["conv"], [KeptFloat("mean", "Mean", "no int8 form")], [["a", "b"]]),
    SparsityReport([LayerSparsity("conv", (3, 3, 1, 2), 9, 18)]),
    Comparison([{"name": "wide", "parameters": 9, "macs": 9, "accuracy": 0.5, "seconds": 1.0,
                 "history": [0.1, 0.5]}], "Width"),
    anchor_coverage(np.array([[0, 0, 8, 8], [0, 0, 90, 9]]), np.array([[0, 0, 8, 9]])),
]  # fmt: skip
PAGES, PLOTS = {"DeviceReport"}, {"Benchmark", "SparsityReport", "Comparison"}


def name_of(report):
    return type(report).__name__


@pytest.fixture(params=REPORTS, ids=name_of)
def report(request):
    return request.param


def test_report_is_printed_for_people(report):
    assert isinstance(report, Report)
    assert str(report)
    assert not str(report).startswith(name_of(report))


def test_json_is_read_by_every_reader(report):
    """Python alone reads NaN and Infinity."""

    def refuse(constant):
        raise AssertionError(constant)

    content = json.loads(report.to_json(), parse_constant=refuse)
    assert content
    if not isinstance(report, Comparison):  # whose rows alone are kept
        assert set(content) == set(report.to_dict())


def test_report_is_saved_by_the_ending(report, tmp_path):
    for ending, text in (("json", report.to_json()), ("TXT", str(report))):
        report.save(tmp_path / f"report.{ending}")
        assert (tmp_path / f"report.{ending}").read_text() == f"{text}\n"
    report.save(tmp_path / "report", "json")
    assert (tmp_path / "report").read_bytes() == (tmp_path / "report.json").read_bytes()
    if name_of(report) in PAGES:
        report.save(tmp_path / "report.html")
        assert (tmp_path / "report.html").read_text() == f"{report.to_html()}\n"
    if name_of(report) in PLOTS:
        report.save(tmp_path / "report.png")
        assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_other_endings_are_errors(report, tmp_path):
    known = "json, txt"
    known = f"html, {known}" if name_of(report) in PAGES else known
    known = f"{known}, png, svg, pdf" if name_of(report) in PLOTS else known
    for path in (tmp_path / "report.csv", tmp_path / "report"):
        with pytest.raises(ValueError, match=f"saved as {known}; received .*{path.name}"):
            report.save(path)
    with pytest.raises(ValueError, match="received xml"):
        report.save(tmp_path / "report.json", "xml")
    if name_of(report) in PLOTS:
        with pytest.raises(ValueError, match=r"expected .*report\.png\.svg"):
            report.save(tmp_path / "report.png", "svg")
    assert not list(tmp_path.iterdir())


def test_summaries_are_part_of_the_json():
    _, verification, latency, benchmark, quantization, sparsity, *_ = (
        json.loads(report.to_json()) for report in REPORTS
    )
    assert (verification["passed"], verification["sqnr"]) == (True, None)
    assert verification["outputs"][0]["name"] == "größe"
    assert latency["median"] == benchmark["median"] == 1.5
    assert benchmark["profile"] == [{"name": "CONV", "milliseconds": 0.5}]
    assert quantization["complete"] is False
    assert sparsity["sparsity"] == sparsity["layers"][0]["sparsity"] == 0.5


def test_numbers_of_numpy_are_numbers():
    content = {"a": np.float32(0.5), "b": (np.int64(3), np.array([1.0, np.inf])), "c": np.nan}
    assert json.loads(as_json(content)) == {"a": 0.5, "b": [3, [1.0, None]], "c": None}
