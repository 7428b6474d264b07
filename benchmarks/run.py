"""Runs the small benchmarks on every backend and writes their tables.

`python benchmarks/run.py digits imports` writes `digits.md` and `imports.md` in
`benchmarks/results`. `applications.py` and `cifar10.py` run by themselves.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BACKENDS = ("tensorflow", "jax", "torch")


def main():
    """One after the other, since they would slow each other down."""
    known = {"digits": digits, "imports": imports}
    for name in sys.argv[1:] or known:
        known[name]()


def digits():
    """Accuracy on the digits, float32 and mixed precision."""
    rows = []
    for backend in BACKENDS:
        for policy in ("float32", "mixed_float16"):
            result = run("digits.py", backend, "--policy", policy)
            rows.append(f"| {backend} | {policy} | {result['accuracy']:.4f} |")
    write(
        "digits.md",
        "ShuffleNet V2 0.5x on the digits: test accuracy",
        "`python benchmarks/digits.py --policy …` on each backend: `model.fit` as in the "
        "quickstart, 15 epochs at 48², 360 test pictures.",
        ["backend", "policy", "test accuracy"],
        rows,
    )


def imports():
    """Seconds that `import kdl` adds to `import keras`: the shortest of some new processes."""
    rows = []
    for backend in BACKENDS:
        of_keras, of_kdl = zip(*(import_times(backend) for _ in range(5)), strict=True)
        rows.append(f"| {backend} | {min(of_keras):.2f} | {min(of_kdl):.2f} |")
    write(
        "imports.md",
        "What `import kdl` adds to `import keras`",
        "`python benchmarks/run.py imports`: seconds, the shortest of five new processes.",
        ["backend", "import keras", "then import kdl"],
        rows,
    )


def import_times(backend):
    """Seconds of `import keras`, and of `import kdl` after it, in a new process."""
    code = (
        "import time; a = time.perf_counter(); import keras; b = time.perf_counter(); "
        "import kdl; c = time.perf_counter(); print(b - a, c - b)"
    )
    return [float(word) for word in output(backend, "-c", code).split()]


def run(script, backend, *arguments):
    """The JSON that a benchmark prints last."""
    print(f"{script} on {backend} {' '.join(arguments)}", flush=True)
    line = output(backend, HERE / script, *arguments).strip().splitlines()[-1]
    print(line, flush=True)
    return json.loads(line)


def output(backend, *arguments):
    """What a new Python prints on a backend; it may keep what it compiles, as Python does."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def write(name, title, text, columns, rows, note=""):
    """A table as Markdown."""
    lines = [f"# {title}", "", text, ""]
    lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}", *rows, ""]
    lines += [f"{note} Machine: {platform.machine()}, Python {platform.python_version()}.".strip()]
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
