"""Arguments that the examples share: where data is read from and results are written to."""

import argparse
import pathlib

_HELP = "examples/README.md says where data sets are to be had and how their archives are laid out"


def data_set(text):
    """An argparse type: `digits`, or the path of an archive or folder that exists."""
    if text != "digits" and not pathlib.Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text}: there is no such file. {_HELP}.")
    return text


def add_output(parser):
    """Adds `--output` and `--smoke`, which every example has."""
    parser.add_argument("--output", type=pathlib.Path, help="folder of the results [runs/EXAMPLE]")
    parser.add_argument("--smoke", action="store_true", help="seconds: only shows that it runs")


def output_folder(arguments, example):
    """The folder of the results; what `--smoke` leaves never replaces a real run's."""
    if arguments.output is not None:
        return arguments.output
    return pathlib.Path("runs") / (f"{example}-smoke" if arguments.smoke else example)
