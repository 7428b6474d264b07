"""Runs the suite on every backend, on JAX with TensorFlow hidden, and prints a line for each.

What needs TensorFlow whatever the backend, such as its converter, is run on JAX by itself. What
`selection.py` calls long is run by `--long` alone.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HIDDEN = str(ROOT / "tests" / "no_tensorflow")

ALL = ["--doctest-modules", "kdl", "tests"]
# XLA's newer code generator takes three times as long for what is run once or twice.
QUICK_XLA = "--xla_cpu_use_fusion_emitters=false"
EXPORTING_EXAMPLES = ["--ignore=kdl/deploy", "--ignore=kdl/testing/export_test.py"]

# name → (backend, extra entries of the module path, what is run, of which markers)
EVERY = {
    "torch": ("torch", [], ALL, ""),
    "tensorflow": ("tensorflow", [], ALL, ""),
    "jax without tensorflow": ("jax", [HIDDEN], [*ALL, *EXPORTING_EXAMPLES], ""),
    "jax with tensorflow": ("jax", [], ["tests"], "export or tensorflow"),
}


def part_of(backend, hidden, targets, markers, part):
    """A run of what is long, or of what is not; examples in docstrings are run on PyTorch alone."""
    targets = targets if backend == "torch" else ["tests"]
    return backend, hidden, targets, f"({markers}) and {part}" if markers else part


BRIEF, LONG = (
    {name: part_of(*run, part) for name, run in EVERY.items()} for part in ("not long", "long")
)
PARTS = {"--long": LONG, "--every-model": EVERY}


def main(arguments):
    """Runs all, or the runs named first among the arguments; the rest goes to pytest.

    `--long` runs what is marked `long`, `--every-model` all, neither all that is not marked so.
    """
    runs = next((PARTS[a] for a in arguments if a in PARTS), BRIEF)
    chosen = [a for a in arguments if a in runs] or list(runs)
    rest = [a for a in arguments if a not in (*EVERY, "--long")]
    lines, failed = [], False
    for name in chosen:
        print(f"=== {name} ===", flush=True)
        start = time.monotonic()
        code, summary = run(*runs[name], rest)
        failed |= code != 0
        verdict = "passed" if code == 0 else f"FAILED (exit status {code})"
        lines.append(f"{name}: {verdict}, {summary}, {time.monotonic() - start:.0f} s")
    print("\n".join(["", *lines]), flush=True)
    return int(failed)


def run(backend, hidden, targets, markers, rest):
    """Exit status of pytest on one backend, and its closing line."""
    path = [*hidden, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join(path),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # One process a core, each with one thread: they would only wait for each other.
        "OMP_NUM_THREADS": "1",
        # Compiling for speed takes longer than anything that is tested here.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    if backend == "jax":
        environment["XLA_FLAGS"] = xla_flags(environment)
    # Children need not compile kdl, each anew: a third of a second.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    workers = ["-n", str(min(os.cpu_count(), 4)), "--dist", "worksteal"]
    command = [sys.executable, "-m", "pytest", *workers, *targets, "-m", markers, *rest]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, errors="replace"
    )
    summary = "no closing line"
    for line in process.stdout:
        print(line, end="", flush=True)
        if re.search(r"\d+ (passed|failed|error|skipped|deselected)", line):
            summary = line.strip("= \n")
    return process.wait(), summary


def xla_flags(environment):
    """The flags in the environment, and `QUICK_XLA`, unless this XLA ends when it sees it."""
    given = environment.get("XLA_FLAGS", "")
    quick = f"{given} {QUICK_XLA}".strip()
    try_out = [sys.executable, "-c", "import jax; jax.numpy.ones(1)"]
    known = subprocess.run(
        try_out, env={**environment, "XLA_FLAGS": quick}, capture_output=True, check=False
    )
    return quick if known.returncode == 0 else given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
