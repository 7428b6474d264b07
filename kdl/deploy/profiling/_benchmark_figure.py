"""Figure of the measurements of several files."""

import os

import numpy as np

from kdl._plots import make_figure, write_figure


def write_benchmarks(benchmarks, path):
    """Draws what `plot_benchmarks` tells.

    Args:
        benchmarks: List of `Benchmark`.
        path: PNG file to write.

    Raises:
        ValueError: If there are no benchmarks.
        ImportError: If matplotlib is missing.
    """
    if not benchmarks:
        raise ValueError("Expected at least one benchmark to draw; received none.")
    paths = [benchmark.path for benchmark in benchmarks]
    names = [name.removesuffix(".tflite") for name in short_names(paths)]
    figure = make_figure((11, max(3.2, 1.2 + 0.45 * len(names))))
    colors = [f"C{number % 10}" for number in range(len(names))]
    latency, memory, size = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    for one, name, color in zip(benchmarks, names, colors, strict=True):
        _draw_times(latency, one, name, color)
    _finish_times(latency, benchmarks)
    beyond = [(one.memory - one.idle_memory) / 2**20 for one in benchmarks]
    _draw_bars(memory, "memory beyond LiteRT", "MiB", "{:.1f}", names, colors, beyond)
    sizes = [one.size / 1024 for one in benchmarks]
    _draw_bars(size, "file", "KiB", "{:.0f}", names, colors, sizes)
    write_figure(figure, path)


def _draw_times(axes, benchmark, name, color):
    times = np.sort(benchmark.times)
    shares = np.arange(1, len(times) + 1) / len(times)
    axes.step(times, shares, where="post", color=color, label=f"{benchmark.median:.3f} ms: {name}")
    axes.plot(benchmark.median, 0.5, "o", color=color)


def _finish_times(axes, benchmarks):
    from matplotlib.ticker import LogLocator, NullFormatter

    # Logarithmic, since a run that was interrupted takes many times as long as the others.
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    left = 0.95 * min(one.minimum for one in benchmarks)
    right = 1.05 * max(max(one.times) for one in benchmarks)
    axes.set(xlim=(left, right), ylim=(0, 1.02), xlabel="ms", ylabel="share of the runs")
    axes.set_title("runs that took at most …", fontsize="medium")
    axes.grid(alpha=0.3)
    legend = axes.legend(loc="lower right", title="median")
    for text in legend.get_texts():  # names of files are no formulas
        text.set_parse_math(False)


def _draw_bars(axes, title, unit, form, names, colors, values):
    drawn = axes.barh(range(len(names)), values, height=0.6, color=colors)
    axes.bar_label(drawn, [form.format(value) for value in values], padding=3)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel=unit, xlim=(0, 1.35 * max(*values, 1e-9)))
    axes.set_title(title, fontsize="medium")
    # From the top down, with room for three at least: one bar alone would fill the panel.
    margin = 0.5 + max(0, 3 - len(names)) / 2
    axes.set_ylim(len(names) - 1 + margin, -margin)


def short_names(paths):
    """File names, with as much of the folders as tells them apart."""
    parts = [os.path.abspath(path).split(os.sep) for path in paths]
    for depth in range(1, max(map(len, parts))):
        names = [os.sep.join(part[-depth:]) for part in parts]
        if len(set(names)) == len(set(paths)):
            break
    return names
