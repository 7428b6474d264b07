"""Runs the benchmark of the digits on every backend and writes its table.

`python benchmarks/run.py digits` writes `benchmarks/results/digits.md`. `applications.py` and
`cifar10.py` run by themselves.
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
    known = {"digits": digits}
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


def run(script, backend, *arguments):
    """The JSON that a benchmark prints last."""
    print(f"{script} on {backend} {' '.join(arguments)}", flush=True)
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, HERE / script, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    print(done.stdout.strip().splitlines()[-1], flush=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def write(name, title, text, columns, rows, note=""):
    """A table as Markdown."""
    lines = [f"# {title}", "", text, ""]
    lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}", *rows, ""]
    lines += [f"{note} Machine: {platform.machine()}, Python {platform.python_version()}.".strip()]
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
