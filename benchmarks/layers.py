"""How fast layers are beside Keras's own, on each backend.

    python benchmarks/layers.py --layers peephole_lstm

Each section of `SECTIONS` measures one layer: contenders take turns in one process, and the
smallest time of each counts. A run replaces the sections that it measured, and keeps the others.
"""

import argparse
import inspect
import json
import pathlib
import platform
import time

import numpy as np
from run import BACKENDS, run

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def peephole_lstm():
    """A training step of the recurrent layers, beside Keras's loop over an LSTM cell."""
    import keras

    from kdl.layers import CoupledLSTM, PeepholeLSTM, PeepholeLSTMCell

    builds = {
        "keras.layers.LSTM(use_cudnn=False)": lambda units: keras.layers.LSTM(
            units, use_cudnn=False
        ),
        "keras.layers.RNN(PeepholeLSTMCell)": lambda units: keras.layers.RNN(
            PeepholeLSTMCell(units)
        ),
        "PeepholeLSTM": PeepholeLSTM,
        "CoupledLSTM": CoupledLSTM,
    }
    rows = []
    for units, length in ((64, 32), (64, 100), (128, 32), (128, 100)):
        x = np.random.default_rng(0).standard_normal((32, length, 32)).astype("float32")
        y = np.zeros((32, units), "float32")
        times = take_turns(
            {name: training_step(build(units), x, y) for name, build in builds.items()}
        )
        rows += table(f"{units} units, {length} steps, batch 32", times)
    return rows


def normalization():
    """A training step of the norms alone, beside `keras.layers.BatchNormalization`."""
    import keras

    from kdl.layers import (
        BatchNormalization,
        MovingAverageBatchNormalization,
        SwitchableNormalization,
        SyncBatchNormalization,
    )

    builds = {
        "keras.layers.BatchNormalization": keras.layers.BatchNormalization,
        "BatchNormalization": BatchNormalization,
        "SyncBatchNormalization": SyncBatchNormalization,
        "SwitchableNormalization": SwitchableNormalization,
        "MovingAverageBatchNormalization": MovingAverageBatchNormalization,
        "keras.layers.GroupNormalization(8)": lambda: keras.layers.GroupNormalization(8),
    }
    rows = []
    for shape in ((32, 28, 28, 64), (16, 56, 56, 24), (32, 14, 14, 256)):
        x = np.random.default_rng(0).standard_normal(shape).astype("float32")
        times = take_turns(
            {name: training_step(build(), x, np.zeros_like(x)) for name, build in builds.items()}
        )
        rows += table(" × ".join(map(str, shape)), times)
    return rows


SECTIONS = {"peephole_lstm": peephole_lstm, "normalization": normalization}


def training_step(layer, x, y):
    """A function that trains the layer alone on one batch."""
    import keras

    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile("adam", "mse")
    return lambda: model.train_on_batch(x, y)


def table(case, times, kind="layer"):
    """The rows of one case, with the ratio to its first contender."""
    base = next(iter(times.values()))
    return [
        {"case": case, kind: name, "ms": milliseconds, "ratio": milliseconds / base}
        for name, milliseconds in times.items()
    ]


def take_turns(calls, turns=30):
    """Milliseconds of the fastest call of each, all in turns; the first two calls do not count."""
    times = {name: [] for name in calls}
    for turn in range(turns + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn > 1:
                times[name].append(time.perf_counter() - start)
    return {name: 1000 * min(found) for name, found in times.items()}


def main(script, sections, kind, title):
    """Measures on every backend, a process each, and writes both results.

    Args:
        script: Path of the benchmark; its name is that of the results and of the option.
        sections: Dict: name → function that measures and gives rows of `table`.
        kind: What is compared, the name of a column.
        title: Title of the results.
    """
    stem = pathlib.Path(script).stem
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument(
        f"--{stem}", dest="names", nargs="+", choices=sections, default=list(sections)
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    arguments = parser.parse_args()
    if arguments.here:
        found = {name: sections[name]() for name in arguments.names}
        print(json.dumps({"where": where(), "found": found}))
        return
    path = RESULTS / f"{stem}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for backend in arguments.backends:
        done = run(f"{stem}.py", backend, "--here", f"--{stem}", *arguments.names)
        for name, rows in done["found"].items():
            results.setdefault(name, {})[done["where"]] = rows
    path.write_text(json.dumps(results, indent=1) + "\n")
    lines = report(results, stem, sections, kind, title)
    (RESULTS / f"{stem}.md").write_text("\n".join(lines) + "\n")


def where():
    """The backend, and its accelerator where it has one."""
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        found = torch.cuda.is_available() and torch.cuda.get_device_name()
    elif backend == "jax":
        import jax

        found = jax.default_backend() != "cpu" and jax.devices()[0].device_kind
    else:
        import tensorflow as tf

        names = [
            tf.config.experimental.get_device_details(gpu)["device_name"]
            for gpu in tf.config.list_physical_devices("GPU")
        ]
        found = names and names[0]
    return f"{backend}, {found}" if found else backend


def report(results, stem, sections, kind, title):
    """The results as lines of Markdown: a table a section."""
    lines = [f"# {title}", ""]
    lines += [f"`python benchmarks/{stem}.py`; smallest time of all turns, in one process.", ""]
    for name, backends in sorted(results.items()):
        lines += [f"## {name}", "", inspect.cleandoc(sections[name].__doc__), ""]
        lines += [f"| backend | case | {kind} | ms | ratio |", "| --- | --- | --- | --- | --- |"]
        for backend, rows in backends.items():
            for row in rows:
                found = f"{row[kind]} | {row['ms']:.2f} | {row['ratio']:.2f}"
                lines.append(f"| {backend} | {row['case']} | {found} |")
        lines.append("")
    lines.append(f"Machine: {platform.machine()}, Python {platform.python_version()}.")
    return [*lines, "What has no row that names a GPU was not measured on one."]


if __name__ == "__main__":
    main(__file__, SECTIONS, "layer", "Layers beside Keras's own")
