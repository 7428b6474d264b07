import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

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
    return Benchmark(str(path), "int8", 2048, 1, tuple(times), memory, 1 << 20)


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
    assert "median 51.000 ms (min 1.000, 90 % 91.000, 99 % 100.000) of 101 runs" in str(result)


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
    code = (root / "kdl" / "deploy" / "_memory_worker.py").read_text()
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


@pytest.mark.parametrize("arguments", [{"runs": 0}, {"threads": 0}])
def test_bad_numbers(files, arguments):
    with pytest.raises(ValueError, match="must be positive"):
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
    module = sys.modules["kdl.deploy.benchmark"]
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
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
    for color in ((31, 119, 180), (255, 127, 14)):  # the first two of matplotlib's colours
        assert np.all(pixels == color, axis=1).sum() > 500
    with pytest.raises(ValueError, match="at least one"):
        plot_benchmarks([], path)


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
