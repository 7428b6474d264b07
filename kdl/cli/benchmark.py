"""`kdl benchmark`."""

from pathlib import Path
from typing import Annotated

import typer

from kdl._plots import check_figure
from kdl.cli import console
from kdl.cli._app import app
from kdl.cli._outputs import check_output
from kdl.cli._packages import package, quiet_stderr
from kdl.cli._results import results_of

# Two tables, since one would not fit into 80 columns.
_LATENCY = {
    "file": "text",
    "min ms": "number",
    "median ms": "number",
    "90 % ms": "number",
    "99 % ms": "number",
}
_SIZE = {
    "file": "text",
    "kind": "name",
    "file KiB": "number",
    "peak MiB": "number",
    "beyond LiteRT MiB": "number",
}
_PROFILE = {"operation": "text", "times": "number", "ms": "number", "share": "number"}
_RESOLUTION = 0.001  # ms

TFLiteFiles = Annotated[list[Path], typer.Argument(help=".tflite files.")]


@app.command()
def benchmark(
    files: TFLiteFiles,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Number of threads.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Number of timed runs.")] = 100,
    plot: Annotated[Path | None, typer.Option(help="PNG file to draw.")] = None,
    profile: Annotated[bool, typer.Option(help="Measure each operation too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Measures .tflite files on this machine's CPU, without Keras and TensorFlow.

    What cannot be measured is told beside the results, and makes the exit status 1.
    """
    if plot is not None:
        check_output(plot, files)
        check_figure(plot)
    deploy = package("deploy")

    def measure(file):
        with quiet_stderr():
            return deploy.benchmark(file, threads, runs, profile)

    results, failed = results_of(files, measure)
    if as_json:
        console.say_json([result.to_dict() for result in results])
    elif results:
        _print(results, profile)
    if plot is not None and results:
        deploy.plot_benchmarks(results, plot)
    if failed:
        raise typer.Exit(1)


def _print(results, profile):
    from kdl.deploy.profiling._benchmark_figure import short_names

    names = short_names([result.path for result in results])
    console.table(_LATENCY, [[name, *_times(r)] for name, r in zip(names, results, strict=True)])
    console.table(_SIZE, [[name, *_sizes(r)] for name, r in zip(names, results, strict=True)])
    if profile:
        for result in results:
            _print_profile(result)


def _times(result):
    return [f"{ms:.3f}" for ms in (result.minimum, result.median, result.p90, result.p99)]


def _sizes(result):
    return [
        result.quantization,
        f"{result.size / 1024:.0f}",
        f"{result.memory / 2**20:.1f}",
        f"{(result.memory - result.idle_memory) / 2**20:.1f}",
    ]


def _print_profile(result):
    """Operations of one name together, the longest first, and what is missing of the median."""
    together = {}
    for operation in result.profile:
        together.setdefault(operation.name, []).append(operation.milliseconds)
    rows = [
        (name, len(times), sum(times))
        for name, times in sorted(together.items(), key=lambda item: -sum(item[1]))
    ]
    if result.unattributed is not None:
        rows.append(("(cut off, and between operations)", "", result.unattributed))
    whole = sum(ms for _, _, ms in rows) or 1
    console.say(f"{result.path}: median {result.median:.3f} ms")
    console.table(_PROFILE, [[name, n, _duration(ms), _share(ms, whole)] for name, n, ms in rows])
    console.say(
        "LiteRT's profiler counts whole µs of each operation: what is always shorter shows as "
        "< 0.001 ms."
    )


def _duration(ms):
    return f"{ms:.3f}" if ms >= _RESOLUTION / 2 else f"< {_RESOLUTION}"


def _share(ms, whole):
    return f"{ms / whole:.1%}" if ms >= _RESOLUTION / 2 else "–"
