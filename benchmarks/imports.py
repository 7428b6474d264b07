"""Seconds that `import kdl` adds to `import keras`.

The shortest of five new processes on each backend.
"""

from benchmarks._children import BACKENDS, make_parser, output, write_table

PROCESSES = 5


def main(arguments=None):
    """Measures on every backend and writes the table."""
    make_parser("imports", __doc__).parse_args(arguments)
    rows = []
    for backend in BACKENDS:
        times = [import_times(backend) for _ in range(PROCESSES)]
        of_keras, of_kdl = map(min, zip(*times, strict=True))
        rows.append(f"| {backend} | {of_keras:.2f} | {of_kdl:.2f} |")
        print(rows[-1], flush=True)
    write_table(
        "imports.md",
        "What `import kdl` adds to `import keras`",
        "`python -m benchmarks imports`: seconds, the shortest of five new processes.",
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
