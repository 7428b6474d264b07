"""Every kind of network on a mobile GPU's accelerator: what `check` says, and what it does.

    python -m benchmarks gpu_check

The smallest network of each class of the registry (all with `--every-model`) is exported as float16
and as int8; `kdl.deploy.check` judges the files by its tables and, where this machine has a Vulkan
driver, runs them on LiteRT's GPU accelerator and compares the outputs with the CPU's. What is
finished is kept in `benchmarks/results/gpu_check.json`, so an interrupted run goes on.
"""

import json
import pathlib
import tempfile

import keras
import numpy as np

from benchmarks._children import RESULTS, make_parser
from kdl.applications import create_model, list_models
from kdl.compression import fold_batch_norm
from kdl.deploy import check, export_tflite, rewrite_for, warm_converter
from kdl.testing._randomized_weights import randomize_weights

FORMS = ("float16", "int8")
SIZE = 64


def main(arguments=None):
    """Measures what is not in the results yet, and writes the table."""
    parser = make_parser("gpu_check", __doc__)
    parser.add_argument("--every-model", action="store_true", help="all networks (some hours)")
    arguments = parser.parse_args(arguments)
    kept = RESULTS / "gpu_check.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    names = [entry.name for entry in list_models()] if arguments.every_model else smallest()
    with warm_converter(), tempfile.TemporaryDirectory() as folder:
        for name in names:
            if name not in rows:
                rows[name] = measure(name, pathlib.Path(folder))
                print(name, json.dumps(rows[name]), flush=True)
                kept.write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "gpu_check.md").write_text(table(rows))


def smallest():
    """The name of the smallest network of each class."""
    found = {}
    for entry in sorted(list_models(), key=lambda entry: -entry.parameters):
        found[entry.constructor] = entry.name
    return sorted(found.values())


def measure(name, folder):
    """Dict: form of the file → what became of it, before and after `rewrite_for`."""
    keras.utils.clear_session()
    # Without the classifier: the class that an untrained network chooses hangs by a hair.
    model = create_model(name, input_shape=(SIZE, SIZE, 3), include_top=False)
    randomize_weights(model)
    images = np.random.default_rng(0).standard_normal((32, SIZE, SIZE, 3)).astype("float32")
    rewritten, rewrites = rewrite_for(fold_batch_norm(model), "gpu")
    row = {"rewrites": len(rewrites)}
    for form in FORMS:
        row[form] = judge(model, folder, form, images)
        if row[form]["refused"]:
            row[f"{form} rewritten"] = judge(rewritten, folder, form, images)
    return row


def judge(model, folder, form, images):
    """What the tables and the accelerator make of a file."""
    path = folder / "model.tflite"
    export_tflite(model, path, form, representative_data=images)
    try:
        report = check(path, "gpu", run=True)
    except OSError:
        report = check(path, "gpu")
    found = {
        "operations": len(report.operations),
        "refused": sorted({o.operation for o in report.operations if o.verdict == "refused"}),
        "unknown": sorted({o.operation for o in report.operations if o.verdict == "unknown"}),
        "share": report.macs_share,
    }
    if report.run:
        found |= {"outcome": report.run.outcome, "error": report.run.relative_error}
        found |= {"named": [name for name, _ in report.run.refused], "agrees": report.agrees}
    return found


def table(rows):
    """The rows as Markdown."""
    lines = [
        "# Networks on LiteRT's GPU accelerator",
        "",
        "Made by `python -m benchmarks gpu_check --every-model`. Each cell: what `check` refuses "
        "by its tables → "
        "what became of the file on the accelerator (largest difference from the CPU as a "
        "share of the largest output; it ran if that is below 0.02, or for int8 below twice what "
        "lies between LiteRT's own kernels). ✗: the two say otherwise. Where something was refused "
        "the same follows for the network of `rewrite_for`. Random weights, images of "
        f"{SIZE}², no classifier; where there was no driver, the second part is missing.",
        "",
        f"| network | {' | '.join(FORMS)} |",
        f"| --- |{' --- |' * len(FORMS)}",
    ]
    for name, row in rows.items():
        cells = [
            "; rewritten: ".join(cell(row[f]) for f in (form, f"{form} rewritten") if f in row)
            for form in FORMS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(found):
    """What the tables say → what happened."""
    text = ", ".join(found["refused"] + [f"{name}?" for name in found["unknown"]]) or "nothing"
    if "outcome" not in found:
        return text
    error = f" ({found['error']:.1g})" if found["error"] is not None else ""
    return f"{text} → {found['outcome']}{error}{'' if found['agrees'] else ' ✗'}"
