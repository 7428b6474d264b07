"""`kdl list` and `kdl summary`."""

import fnmatch
from pathlib import Path
from typing import Annotated

import typer

from kdl.cli import console
from kdl.cli._app import app
from kdl.cli._inputs import load_model
from kdl.cli._packages import package, quiet_stderr

_COLUMNS = {
    "name": "name",
    "parameters": "number",
    "million MACs": "number",
    "input": "number",
    "ImageNet top-1": "number",
    "license of the weights": "text",
    "task": "text",
}


@app.command("list")
def list_models(
    name: Annotated[
        str, typer.Argument(help="Part of the names, or a pattern such as '*_x1_0'.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Lists the models.

    Multiply-adds are those of the reference network or, where none tells, kdl's own count.
    """
    entries = package("applications").list_models(task=None)
    name = name.lower()
    pattern = name if set(name) & set("*?[") else f"*{name}*"
    entries = [entry for entry in entries if fnmatch.fnmatchcase(entry.name, pattern)]
    if not entries:
        raise ValueError(f"No name matches {name}: kdl list shows them all.")
    if as_json:
        console.say_json(list(map(_as_dict, entries)))
    else:
        console.table(_COLUMNS, list(map(_as_row, entries)))


def _weights(source):
    """Accuracy of published weights; a mark where nothing tells a changed file from theirs."""
    if source is None:
        return "–"
    return f"{source.top1:.2f} %{'' if source.verified else ', no checksum'}"


@app.command()
def summary(
    model: Annotated[str, typer.Argument(help="Name of a model, or a .keras file.")],
    size: Annotated[int, typer.Option(min=1, help="Height and width of the input.")] = 224,
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 1000,
):
    """Prints the layers of a model."""
    if model.lower().endswith(".tflite"):
        raise ValueError(f"{model} has operations in place of layers: kdl check lists them.")
    if model.lower().endswith(".keras"):
        network = load_model(Path(model))
    else:
        create = package("applications").create_model
        with quiet_stderr():
            network = create(model, input_shape=(size, size, 3), classes=classes)
    network.summary(print_fn=console.say, line_length=_line_length(network))


def _line_length(network):
    """Wide enough for all names where the lines go to a pipe; None for the terminal's width."""
    if console.out.is_terminal:
        return None
    names = [f"{layer.name} ({type(layer).__name__})" for layer in network.layers]
    return 3 * max(map(len, names))


def _as_row(entry):
    source = entry.source
    return [
        entry.name,
        f"{entry.parameters:,}",
        f"{(entry.macs or entry.counted_macs) / 1e6:,.0f}",
        "×".join(map(str, entry.input_shape)),
        _weights(source),
        source.license if source else "–",
        entry.task,
    ]


def _as_dict(entry):
    source = entry.source
    return {
        "name": entry.name,
        "task": entry.task,
        "parameters": entry.parameters,
        "macs": entry.macs or entry.counted_macs,
        "macs_of": "reference" if entry.macs else "kdl",
        "input_shape": list(entry.input_shape),
        "imagenet_top1": source.top1 if source else None,
        "checksum": source.verified if source else None,
        "license": source.license if source else None,
    }
