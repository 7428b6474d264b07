"""Latency of a `.tflite` file on this machine's CPU."""

import dataclasses
import time
from typing import Any

import numpy as np

from kdl._checks import check_integer
from kdl._report import Report
from kdl._typing import Path
from kdl._words import counted
from kdl.deploy.runtime.runner import TFLiteRunner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency(Report):
    """Times of single runs in milliseconds.

    Attributes:
        times: Milliseconds of each run, in their order.
        threads: Number of threads.

    Example:
        >>> latency = Latency(times=(2.0, 1.0, 3.0), threads=1)
        >>> latency.minimum, latency.median, latency.runs
        (1.0, 2.0, 3)
    """

    times: tuple[float, ...]
    threads: int

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.times)

    @property
    def minimum(self) -> float:
        """Shortest run in milliseconds, as short as the machine can do undisturbed."""
        return min(self.times)

    @property
    def median(self) -> float:
        """Middle run in milliseconds."""
        return self.quantile(0.5)

    @property
    def p90(self) -> float:
        """Nine of ten runs are shorter, in milliseconds."""
        return self.quantile(0.9)

    @property
    def p99(self) -> float:
        """99 of 100 runs are shorter, in milliseconds."""
        return self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """Time in milliseconds below which this share of the runs lies."""
        return float(np.quantile(self.times, share))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""
        summary = {name: getattr(self, name) for name in ("minimum", "median", "p90", "p99")}
        return {**super().to_dict(), **summary}

    def __str__(self):
        return (
            f"median {self.median:.3f} ms (min {self.minimum:.3f}, 90 % {self.p90:.3f}, 99 % "
            f"{self.p99:.3f}) of {self.runs} runs on {counted(self.threads, 'thread')}"
        )


def measure_latency(path: Path, threads: int = 1, runs: int = 100, warm_up: int = 10) -> Latency:
    """Runs a `.tflite` file again and again in the LiteRT interpreter.

    `kdl.deploy.benchmark` measures the same, and memory and operations too.

    Args:
        path: The file.
        threads: Number of threads. Defaults to 1.
        runs: Number of timed runs. Defaults to 100.
        warm_up: Number of runs before these. Defaults to 10.

    Returns:
        `Latency`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or a number is not positive.
        ImportError: If `ai-edge-litert` is missing.

    Example:
        >>> import kdl, pathlib
        >>> files = pathlib.Path(kdl.__file__).parents[1] / "saved_models" / "quickstart"
        >>> measure_latency(files / "int8.tflite", runs=5).runs
        5
    """
    threads, runs = check_integer("threads", threads), check_integer("runs", runs)
    warm_up = check_integer("warm_up", warm_up, least=0)
    runner = TFLiteRunner(path, threads)
    for _ in range(warm_up):
        runner.invoke()
    return Latency(times=tuple(_milliseconds(runner) for _ in range(runs)), threads=threads)


def _milliseconds(runner):
    start = time.perf_counter()
    runner.invoke()
    return 1e3 * (time.perf_counter() - start)
