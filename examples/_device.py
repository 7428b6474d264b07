"""What the examples for devices share: judge a file, and show what a rewrite has changed."""

import json
from collections import Counter

import numpy as np
from rich.console import Console
from rich.table import Table

from kdl.deploy import check, export_tflite, read_tflite

COLOURS = {
    "runs": "#55a868",
    "may fall back": "#ccb974",
    "unknown": "#8c8c8c",
    "refused": "#c44e52",
}


def export_and_check(name, model, path, quantization, target, test):
    """Exports a model, proves the file, and asks what a device will run of it.

    The report is saved as a page beside the file.

    Args:
        name: Name of the row.
        model: The model.
        path: File to write.
        quantization: As in `export_tflite`.
        target: As in `check`.
        test: Pair `(inputs, labels)` on which the file is compared with the model.

    Returns:
        Dict with what the table and the plot show.
    """
    proof = export_tflite(model, path, quantization, verification_data=test)
    print(proof)
    report = judge(path, target)
    report.save(path.with_suffix(".html"))
    print(report, flush=True)
    row = {
        "name": name,
        "file": path.name,
        "kib": read_tflite(path).size / 1024,
        "accuracy": proof.tflite_accuracy,
        "agreement": proof.top1_agreement,
        "sqnr": proof.sqnr,
        "macs": report.macs,
        "share": report.macs_share,
        "verdict": report.verdict,
        "operations": report.counts,
    }
    if report.run:
        row["run"] = report.run.outcome
        row["relative_error"] = report.run.relative_error
    return row


def judge(path, target):
    """`check`, with a real run on a GPU where this machine has a driver for it."""
    if target == "gpu":
        try:
            return check(path, target, run=True)
        except OSError as error:
            print(f"Judged by the tables alone: {error}")
    return check(path, target)


def show_rewrites(rewrites, model, safe, images):
    """What was rewritten, how often and how exactly, and what that changes in the outputs."""
    kinds = Counter((each.kind, each.form, each.exact) for each in rewrites)
    for (kind, form, exact), count in kinds.items():
        print(f"{count} × {kind} → {form}: {'exact' if exact else 'not exact'}")
    outputs = [each.predict(images, verbose=0) for each in (model, safe)]
    print(f"Largest difference of the probabilities: {np.abs(outputs[0] - outputs[1]).max():.1e}")


def show(rows, title, folder):
    """Prints the table, draws the plot, and saves the numbers."""
    (folder / "results.json").write_text(json.dumps(rows, indent=1))
    print_rows(rows, title)
    plot_rows(rows, title, folder / "accuracy.png")
    print(f"Plot, files and the reports as pages: {folder}")


def print_rows(rows, title):
    """The result on the screen."""
    table = Table(title=title)
    for column in ("network", "accuracy", "million MACs", "on the device", "operations", "verdict"):
        table.add_column(column, justify="left" if column == "network" else "right")
    if "run" in rows[0]:
        table.add_column("real run", justify="right")
    for row in rows:
        cells = [
            row["name"],
            f"{row['accuracy']:.4f}",
            f"{row['macs'] / 1e6:.2f}",
            f"{row['share']:.1%}",
            str(sum(row["operations"].values())),
            row["verdict"],
        ]
        table.add_row(*cells, *([row["run"]] if "run" in row else []))
    Console(width=max(Console().width, 110)).print(table)


def plot_rows(rows, title, path):
    """Verdicts on the operations, share of the multiply-adds on the device, and accuracy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.2 + 0.6 * len(rows)), layout="constrained")
    figure.suptitle(title)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    names = [row["name"] for row in rows]
    start = [0] * len(rows)
    for verdict, colour in COLOURS.items():
        counts = [row["operations"][verdict] for row in rows]
        if any(counts):
            left.barh(names, counts, left=start, color=colour, label=verdict)
        start = [a + b for a, b in zip(start, counts, strict=True)]
    left.set_xlim(0, 1.1 * max(start))
    left.set_title("operations")
    left.legend(fontsize="small")
    for axes, key, label in (
        (middle, "share", "share of multiply-adds on it"),
        (right, "accuracy", "test accuracy of the file"),
    ):
        values = [row[key] for row in rows]
        bars = axes.barh(names, values, color="#4c72b0")
        axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=3)
        axes.set_xlim(0, 1.25)
        axes.set_xticks([0, 0.5, 1])
        axes.set_title(label)
    left.invert_yaxis()
    figure.savefig(path, dpi=120)
