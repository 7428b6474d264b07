"""Report of the quantized operations of a model and of those that stay float."""

import dataclasses
from typing import Any

from kdl._report import Report


@dataclasses.dataclass(frozen=True)
class KeptFloat:
    """An operation that stays in floating point.

    Attributes:
        name: Name of the layer or operation in the quantized model.
        kind: Name of its class.
        reason: Why it stays so.
    """

    name: str
    kind: str
    reason: str

    def __str__(self):
        return f"{self.name} ({self.kind}) stays float: {self.reason}"


@dataclasses.dataclass(frozen=True)
class QuantizationReport(Report):
    """Quantized and float operations of a model of `quantize_aware` or `calibrate`.

    Attributes:
        quantized: Names of the layers and operations that have a quantized form.
        kept_float: A `KeptFloat` for each of the others.
        shared_ranges: Lists of the names whose outputs share one range.
    """

    quantized: list[str]
    kept_float: list[KeptFloat]
    shared_ranges: list[list[str]]

    @property
    def complete(self) -> bool:
        """True if all is quantized, so that a file of it holds integers only."""
        return not self.kept_float

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""
        return {**super().to_dict(), "complete": self.complete}

    def __str__(self):
        total = len(self.quantized) + len(self.kept_float)
        lines = [f"{len(self.quantized)} of {total} operations are quantized."]
        return "\n".join([*lines, *map(str, self.kept_float)])
