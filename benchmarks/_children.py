"""Measuring in processes of their own, a backend each, and writing what came out."""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BACKENDS = ("tensorflow", "jax", "torch")


def make_parser(name, description):
    """The parser of a benchmark; `description` is its docstring."""
    text = description.split("\n\n", 1)
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=" ".join(text[0].split()),
        epilog=text[1] if len(text) > 1 else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(name, backend, *arguments):
    """The JSON that a benchmark prints last, on a backend."""
    print(f"{name} on {backend} {' '.join(map(str, arguments))}", flush=True)
    line = output(backend, "-m", "benchmarks", name, *arguments).strip().splitlines()[-1]
    print(line, flush=True)
    return json.loads(line)


def output(backend, *arguments):
    """What a new Python prints on a backend; it may keep what it compiles, as Python does."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment(backend),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def environment(backend):
    """The environment of a process with this backend, which finds this package from anywhere."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    found = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**found, "TF_CPP_MIN_LOG_LEVEL": "3"}


def write_table(name, title, text, columns, rows):
    """A page of one table in `benchmarks/results`."""
    lines = [f"# {title}", "", text, ""]
    lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}", *rows, "", machine()]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text("\n".join(lines) + "\n")


def machine():
    """A sentence on where it was measured."""
    return f"Machine: {platform.machine()}, Python {platform.python_version()}."


def where():
    """The backend, and its accelerator where it has one."""
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        device = torch.cuda.is_available() and torch.cuda.get_device_name()
    elif backend == "jax":
        import jax

        device = jax.default_backend() != "cpu" and jax.devices()[0].device_kind
    else:
        import tensorflow as tf

        names = [
            tf.config.experimental.get_device_details(gpu)["device_name"]
            for gpu in tf.config.list_physical_devices("GPU")
        ]
        device = names and names[0]
    return f"{backend}, {device}" if device else backend
