"""Latency of a `.tflite` file on this machine's CPU."""

import dataclasses
import time

import numpy as np

from kdl.deploy.runtime.runner import TFLiteRunner


@dataclasses.dataclass(frozen=True)
class Latency:
    """Times of single runs in milliseconds.

    Attributes:
        minimum: Shortest run: what the machine can do undisturbed.
        median: Middle run.
        p90: Nine of ten runs are shorter.
        runs: Number of runs.
        threads: Number of threads.
    """

    minimum: float
    median: float
    p90: float
    runs: int
    threads: int


def measure_latency(path, threads=1, runs=100, warm_up=10):
    """Runs a `.tflite` file again and again in the LiteRT interpreter.

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
    """
    times = measure_times(path, threads, runs, warm_up)
    minimum, median, p90 = np.quantile(times, [0, 0.5, 0.9])
    return Latency(float(minimum), float(median), float(p90), runs, threads)


def measure_times(path, threads, runs, warm_up):
    """Milliseconds of each run, as a list; arguments and errors are those of `measure_latency`."""
    if threads < 1 or runs < 1:
        raise ValueError(f"threads and runs must be positive; received {threads} and {runs}.")
    runner = TFLiteRunner(path, threads)
    for _ in range(warm_up):
        runner.invoke()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        runner.invoke()
        times.append(1e3 * (time.perf_counter() - start))
    return times
