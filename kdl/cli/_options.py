"""Options that hold several numbers."""

import re
from fractions import Fraction
from typing import Annotated

import typer


def parse_size(text):
    """`(height, width)` of `224` or `120x160`."""
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
    if not match or 0 in (sides := (int(match[1]), int(match[2] or match[1]))):
        raise typer.BadParameter(f"expected 224, or 120x160 for height and width; got {text}")
    return sides


def parse_numbers(text):
    """Numbers with commas between; each may be a fraction such as `1/255`."""
    try:
        return tuple(float(Fraction(part.strip())) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(
            f"expected a number, or one a channel with commas between; got {text}"
        ) from None


SizeOption = Annotated[
    tuple | None,
    typer.Option(
        parser=parse_size, metavar="SIZE", help="Of the images: 224, or 120x160 (height, width)."
    ),
]
MeanOption = Annotated[
    tuple | None,
    typer.Option(
        parser=parse_numbers, metavar="M", help="Of pixels in 0 … 1: 0.5, or 0.485,0.456,0.406."
    ),
]
DeviationOption = Annotated[
    tuple | None,
    typer.Option(
        parser=parse_numbers, metavar="S", help="Their deviation: 0.5, 0.229,0.224,0.225 or 1/255."
    ),
]
