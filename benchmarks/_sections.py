"""Benchmarks of several sections, whose contenders take turns in one process of each backend."""

import argparse
import inspect
import json
import time

from benchmarks._children import BACKENDS, RESULTS, machine, make_parser, run, where


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
    return {name: 1000 * min(taken) for name, taken in times.items()}


def measure_sections(name, sections, kind, title, description, arguments):
    """Measures on every backend, a process each, and writes both results.

    Args:
        name: Name of the benchmark, of its results and of the option that chooses sections.
        sections: Dict: name → function that measures and gives rows of `table`.
        kind: What is compared, the name of a column.
        title: Title of the results.
        description: Docstring of the benchmark.
        arguments: The command line.
    """
    parser = make_parser(name, description)
    parser.add_argument(
        f"--{name}", dest="names", nargs="+", choices=sections, default=list(sections)
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    arguments = parser.parse_args(arguments)
    if arguments.here:
        found = {section: sections[section]() for section in arguments.names}
        print(json.dumps({"where": where(), "found": found}))
        return
    path = RESULTS / f"{name}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for backend in arguments.backends:
        done = run(name, backend, "--here", f"--{name}", *arguments.names)
        for section, rows in done["found"].items():
            results.setdefault(section, {})[done["where"]] = rows
    path.write_text(json.dumps(results, indent=1) + "\n")
    lines = report(results, name, sections, kind, title)
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")


def report(results, name, sections, kind, title):
    """The results as lines of Markdown: a table a section."""
    lines = [f"# {title}", ""]
    lines += [f"`python -m benchmarks {name}`; smallest time of all turns, in one process.", ""]
    for section, backends in sorted(results.items()):
        lines += [f"## {section}", "", inspect.cleandoc(sections[section].__doc__), ""]
        lines += [f"| backend | case | {kind} | ms | ratio |", "| --- | --- | --- | --- | --- |"]
        for backend, rows in backends.items():
            for row in rows:
                cells = f"{row[kind]} | {row['ms']:.2f} | {row['ratio']:.2f}"
                lines.append(f"| {backend} | {row['case']} | {cells} |")
        lines.append("")
    return [*lines, machine(), "What has no row that names a GPU was not measured on one."]
