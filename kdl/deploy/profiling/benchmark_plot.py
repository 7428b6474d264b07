"""Plot of measurements of several files."""

from collections.abc import Iterable

from kdl._typing import Path
from kdl.deploy.profiling._benchmark_figure import write_benchmarks
from kdl.deploy.profiling.benchmark import Benchmark


def plot_benchmarks(benchmarks: Iterable[Benchmark], path: Path) -> None:
    """Draws latency, memory and size of several files side by side.

    Latency is drawn as the share of the runs that took at most so long: a steep line is a steady
    file, the long tail to the right is what a busy machine adds. A dot marks the median.

    Args:
        benchmarks: List of `Benchmark`.
        path: PNG file to write.

    Raises:
        ValueError: If there are no benchmarks.
        ImportError: If matplotlib is missing.
    """
    write_benchmarks(benchmarks, path)
