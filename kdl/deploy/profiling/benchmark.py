"""Latency, memory and profile of a `.tflite` file on this machine's CPU."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from kdl._process import explain_death, run_child
from kdl._typing import Path
from kdl.deploy.profiling._benchmark_figure import write_benchmarks
from kdl.deploy.profiling.latency import Latency, measure_latency
from kdl.deploy.tflite.file import read_tflite

_RUNS_FOR_MEMORY = 3
_PATIENCE = 600  # seconds


@dataclasses.dataclass(frozen=True)
class OperationTime:
    """Time that one operation takes of a run.

    Attributes:
        name: The operation as the runtime carries it out, such as `"Convolution (NHWC, F32) IGEMM"`
            or `"SOFTMAX"`: XNNPACK fuses and splits those of the file.
        milliseconds: Mean over the faster half of the runs, which nothing has interrupted. The
            profiler counts whole microseconds, so it is 0 for what is always shorter.
    """

    name: str
    milliseconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark(Latency):
    """Measurements of a `.tflite` file: its `Latency`, size, memory and operations.

    Attributes:
        times: Milliseconds of each run, in their order.
        threads: Number of threads.
        path: The file.
        quantization: `"float32"`, `"float16"`, `"dynamic"` or `"int8"`.
        size: Bytes of the file.
        memory: Bytes that a process has held at most which only loads and runs the file.
        idle_memory: Bytes that it had held before it opened the file: Python, NumPy and LiteRT.
        profile: `OperationTime` of each operation in the order of execution; None if not asked for.
    """

    path: str
    quantization: str
    size: int
    memory: int
    idle_memory: int
    profile: tuple[OperationTime, ...] | None = None

    @property
    def unattributed(self) -> float | None:
        """Milliseconds of the median run that the profile does not show.

        That is what the profiler cut off each operation, since it counts whole microseconds, and
        what lies between operations; None without a profile, or with several threads, since the
        profile is for one.
        """
        if self.profile is None or self.threads > 1:
            return None
        return max(self.median - sum(o.milliseconds for o in self.profile), 0.0)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""
        return {**super().to_dict(), "unattributed": self.unattributed}

    def plot(self, path: Path) -> None:
        """Draws times of the runs, memory and size, as `plot_benchmarks` does of several files.

        Args:
            path: PNG file to write.

        Raises:
            ImportError: If matplotlib is missing.
        """
        write_benchmarks([self], path)

    def __str__(self):
        return (
            f"{self.path}: {self.quantization}, {self.size / 1024:.0f} KiB, {super().__str__()}, "
            f"{self.memory / 2**20:.1f} MiB, {self.idle_memory / 2**20:.1f} without the file"
        )


def benchmark(
    path: Path, threads: int = 1, runs: int = 100, profile: bool = False, warm_up: int = 10
) -> Benchmark:
    """Measures a `.tflite` file in the LiteRT interpreter on this machine's CPU.

    The times are those of this process. Memory is that of a process of its own, which imports
    LiteRT, loads the file and runs it three times. The profile is taken in another one by LiteRT's
    profiler, which is for one thread and counts whole microseconds: an operation that takes less
    shows as nothing. `Benchmark.unattributed` is what is missing of the median run. Dynamic
    dimensions are 1, as in the interpreter.

    Args:
        path: The file.
        threads: Number of threads. Defaults to 1.
        runs: Number of timed runs. Defaults to 100.
        profile: Whether to measure each operation too. Defaults to False.
        warm_up: Number of runs before these. Defaults to 10.

    Returns:
        `Benchmark`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or a number is not positive.
        RuntimeError: If a process ended early, or this LiteRT gives no profile.
        ImportError: If `ai-edge-litert` is missing.

    Example:
        >>> import kdl, pathlib
        >>> files = pathlib.Path(kdl.__file__).parents[1] / "saved_models" / "quickstart"
        >>> result = kdl.deploy.benchmark(files / "int8.tflite", runs=5)
        >>> result.minimum <= result.median <= result.p99, result.idle_memory < result.memory
        (True, True)
    """
    summary = read_tflite(path)
    latency = measure_latency(path, threads, runs, warm_up)
    memory = _worker("_memory_worker", summary.path, threads, _RUNS_FOR_MEMORY)
    return Benchmark(
        times=latency.times,
        threads=latency.threads,
        path=summary.path,
        quantization=summary.quantization,
        size=summary.size,
        memory=memory["peak"],
        idle_memory=memory["idle"],
        profile=_profile(summary.path, runs) if profile else None,
    )


def _profile(path, runs):
    operations = _worker("_profile_worker", path, runs)
    times = np.array([times for _, times in operations])
    faster_half = np.argsort(times.sum(axis=0), kind="stable")[: (runs + 1) // 2]
    means = times[:, faster_half].mean(axis=1) / 1e3
    return tuple(
        OperationTime(name, float(mean)) for (name, _), mean in zip(operations, means, strict=True)
    )


def _worker(name, *arguments):
    """Output of a script beside this file, which imports nothing of kdl."""
    script = pathlib.Path(__file__).with_name(f"{name}.py")
    done = run_child(script, arguments, timeout=_PATIENCE)
    if done.code is None:
        raise RuntimeError(f"{arguments[0]} did not finish within {_PATIENCE} s.")
    if done.code == 0:
        return json.loads(done.output)
    what = "measure the memory of" if "memory" in name else "profile"
    hint = "" if "memory" in name else " Only LiteRT 2.3 is known to give profiles on the CPU."
    raise RuntimeError(
        f"Could not {what} {arguments[0]}: "
        f"{explain_death('the process', done.code, done.messages)}{hint}"
    )
