import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_tflite import FLOAT, TinyFile

from kdl.deploy import Benchmark, OperationTime, benchmark, plot_benchmarks, read_tflite


@pytest.fixture(scope="module")
def files(root):
    return root / "saved_models" / "quickstart"


@pytest.fixture(scope="module")
def measured(files):
    return [
        benchmark(files / f"{form}.tflite", runs=40, profile=True) for form in ("int8", "float32")
    ]


def made(path, times, memory=3 << 20):
    return Benchmark(
        path=str(path),
        quantization="int8",
        size=2048,
        threads=1,
        times=tuple(times),
        memory=memory,
        idle_memory=1 << 20,
    )


def test_all_times_are_kept_and_summed_up(measured, files):
    for form, result in zip(("int8", "float32"), measured, strict=True):
        assert result.path == str(files / f"{form}.tflite")
        assert result.quantization == form
        assert result.size == (files / f"{form}.tflite").stat().st_size
        assert (len(result.times), result.threads) == (40, 1)
        assert 0 < result.minimum <= result.median <= result.p90 <= result.p99 <= max(result.times)
    result = made("m.tflite", range(1, 102))
    assert (result.minimum, result.median, result.p90, result.p99) == (1, 51, 91, 100)
    assert result.quantile(0.25) == 26
    assert (
        "median 51.000 ms (min 1.000, 90 % 91.000, 99 % 100.000) of 101 runs on 1 thread,"
        in str(result)
    )


def test_memory_is_that_of_a_process_which_only_runs_the_file(measured):
    ballast = np.ones(60 << 20, "uint8")  # which this process holds, and that one does not
    for result in measured:
        # Python, NumPy and LiteRT take some 35 MiB; Keras and a backend would take hundreds.
        assert 10 << 20 < result.idle_memory < 100 << 20
        # The file's constants at least must be in memory.
        assert 0.5 * result.size < result.memory - result.idle_memory < 60 << 20
    assert measured[0].memory < measured[1].memory  # int8 below float32
    assert ballast.all()


def test_the_memory_worker_imports_no_kdl(root):
    code = (root / "kdl" / "deploy" / "profiling" / "_memory_worker.py").read_text()
    assert "kdl" not in code.split('"""')[2]


def test_a_profile_of_each_operation(measured, files):
    for result in measured:
        together = {}
        for operation in result.profile:
            assert isinstance(operation, OperationTime)
            assert operation.milliseconds >= 0
            together.setdefault(operation.name, []).append(operation.milliseconds)
        # As many depthwise convolutions as in the file; 1×1 convolutions run as matrix products.
        depthwise = [len(times) for name, times in together.items() if "DWConv" in name]
        operations = read_tflite(result.path).operations
        assert depthwise == [operations["DEPTHWISE_CONV_2D"]]
        products = [len(times) for name, times in together.items() if "GEMM" in name]
        assert sum(products) == operations["CONV_2D"] + operations["FULLY_CONNECTED"]
        # Most of the time goes to convolutions, and all of it is of the order of a run's.
        whole = sum(operation.milliseconds for operation in result.profile)
        assert sum(sum(t) for name, t in together.items() if "GEMM" in name) > 0.3 * whole
        assert 0.1 * result.minimum < whole < 20 * result.median
    assert benchmark(files / "int8.tflite", runs=1).profile is None


@pytest.mark.parametrize("open_axes", [(0,), (0, 1)])
def test_a_profile_with_dynamic_dimensions(open_axes, tmp_path):
    """As the converter writes them: the batch of any size, in inputs and outputs."""
    tiny = TinyFile()
    x = tiny.tensor((1, 8), open_axes=open_axes)
    y = tiny.apply("RELU", [x], ((1, 8), FLOAT, None, open_axes))
    z = tiny.apply("L2_NORMALIZATION", [y], ((1, 8), FLOAT, None, open_axes))
    result = benchmark(tiny.write(tmp_path / "open.tflite", [x], [z]), runs=3, profile=True)
    assert [operation.name for operation in result.profile][1:] == ["L2_NORMALIZATION"]


def test_what_the_profile_cuts_off_is_told(measured):
    result = made("m.tflite", [2.0] * 5)
    profiled = [OperationTime("CONV_2D", 0.5), OperationTime("SOFTMAX", 0.0)]
    assert result.unattributed is None
    assert dataclasses.replace(result, profile=tuple(profiled)).unattributed == 1.5
    assert dataclasses.replace(result, profile=tuple(profiled), threads=2).unattributed is None
    longer = (OperationTime("CONV_2D", 3.0),)  # the profiler takes time itself
    assert dataclasses.replace(result, profile=longer).unattributed == 0
    for found in measured:
        together = sum(operation.milliseconds for operation in found.profile)
        assert found.unattributed == max(found.median - together, 0)


def test_a_measurement_as_plain_values(measured):
    data = json.loads(json.dumps(measured[0].to_dict()))
    assert data["median"] == measured[0].median
    assert data["times"] == list(measured[0].times)
    assert data["profile"][0].keys() == {"name", "milliseconds"}
    assert data["unattributed"] == measured[0].unattributed


@pytest.mark.parametrize("arguments", [{"runs": 0}, {"threads": 0}, {"warm_up": -1}, {"runs": 2.5}])
def test_bad_numbers(files, arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        benchmark(files / "int8.tflite", **arguments)


def test_bad_files(files, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such"):
        benchmark(tmp_path / "missing.tflite")
    (tmp_path / "cut.tflite").write_bytes((files / "int8.tflite").read_bytes()[:9000])
    with pytest.raises(ValueError, match="damaged"):
        benchmark(tmp_path / "cut.tflite")


def test_a_runtime_without_profiler_is_told(files, tmp_path, monkeypatch):
    """A package of that name without the library stands for another version of LiteRT."""
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    module = sys.modules["kdl.deploy.profiling.benchmark"]
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match=r"Could not profile .*libLiteRt\.so.*Only LiteRT 2\.3"):
        module._profile(str(files / "int8.tflite"), 3)


def test_plot(tmp_path):
    rng = np.random.default_rng(0)
    results = [
        made(tmp_path / folder / "m.tflite", 1 + rng.random(50), memory)
        for folder, memory in (("one", 3 << 20), ("two", 2 << 20))
    ]
    path = tmp_path / "plot.png"
    plot_benchmarks(results, path)
    assert os.listdir(tmp_path) == ["plot.png"]
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    for color in ((31, 119, 180), (255, 127, 14)):  # the first two of matplotlib's colors
        assert np.all(pixels == color, axis=1).sum() > 500
    with pytest.raises(ValueError, match="at least one"):
        plot_benchmarks([], path)


def test_one_file_is_no_giant_bar(tmp_path):
    path = tmp_path / "plot.png"
    plot_benchmarks([made(tmp_path / "m.tflite", [1.0, 2.0, 50.0])], path)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    blue = np.all(pixels == (31, 119, 180), axis=2)
    heights = blue[:, pixels.shape[1] * 3 // 4 :].any(axis=1)
    assert 0 < heights.sum() < 0.3 * pixels.shape[0]


def test_no_keras_is_imported(files):
    code = (
        "import sys, kdl; kdl.deploy.benchmark(sys.argv[1], runs=2); "
        "print(*{'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, files / "int8.tflite"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
