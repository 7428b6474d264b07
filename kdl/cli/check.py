"""`kdl check`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kdl._files import write_whole
from kdl.cli import console
from kdl.cli._app import app
from kdl.cli._outputs import check_output
from kdl.cli._packages import package
from kdl.cli._results import results_of
from kdl.cli._wording import in_words_of_the_command

_OUTPUT = Path("-")


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help=".tflite files.")],
    target: Annotated[str, typer.Option(help="gpu, edgetpu or cpu.")] = "gpu",
    html: Annotated[Path | None, typer.Option(help="Save the report as a page.")] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", help="Save the report as JSON, of several a list; '-' prints it instead."
        ),
    ] = None,
    run: Annotated[bool, typer.Option(help="Run it on this machine's GPU, too.")] = False,
):
    """Tells what a device will run of .tflite files; exit status 1 if it refuses anything.

    What cannot be read is told beside the reports, and makes the exit status 1, too.
    """
    for path in (html, None if json_file == _OUTPUT else json_file):
        if path is not None:
            check_output(path, files)
    if html is not None and len(files) > 1:
        raise ValueError(f"--html takes one file; received {len(files)}. --json takes several.")
    deploy = package("deploy")
    reports, failed = results_of(files, lambda file: deploy.check(file, target, run))
    for report in reports:
        if json_file != _OUTPUT:
            console.say("\n".join(map(in_words_of_the_command, str(report).splitlines())))
        if html is not None:
            report.save(html, "html")
    if json_file is not None and reports:
        _give_json(reports, json_file, as_list=len(files) > 1)
    if failed or any(report.verdict == "refused" for report in reports):
        raise typer.Exit(1)


def _give_json(reports, path, as_list):
    found = [report.to_dict() for report in reports]
    content = found if as_list else found[0]
    if path == _OUTPUT:
        console.say_json(content)
    else:
        write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
