"""Several trainings side by side: a table, curves and a file."""

import dataclasses
import pathlib
from typing import Any

from kdl._report import Report, as_json
from kdl._typing import Path
from kdl.training.comparisons.format_table import format_table
from kdl.training.comparisons.plot_curves import plot_curves


def _columns():
    return {
        "network": ("name", "{}"),
        "parameters": ("parameters", "{:,}"),
        "million MACs": ("macs", lambda count: f"{count / 1e6:.2f}"),
        "test accuracy": ("accuracy", "{:.4f}"),
        "seconds": ("seconds", "{:.0f}"),
    }


@dataclasses.dataclass
class Comparison(Report):
    """Results of several trainings, side by side; printed, it is a table.

    Args:
        rows: List of dicts, such as `kdl.training.train_and_measure` gives.
        title: Title of the table and the plot. Defaults to none.
        columns: Columns of the table, as in `kdl.training.format_table`. By default name,
            parameters, multiply-adds, test accuracy and seconds.

    Example:
        >>> rows = [{"name": "wide", "accuracy": 0.91}, {"name": "narrow", "accuracy": 0.85}]
        >>> columns = {"network": ("name", "{}"), "accuracy": ("accuracy", "{:.2f}")}
        >>> print(Comparison(rows, "Width", columns))
        Width
        network  accuracy
        ─────────────────
        wide         0.91
        narrow       0.85
    """

    rows: list
    title: str = ""
    columns: dict = dataclasses.field(default_factory=_columns)

    def __str__(self):
        return format_table(self.rows, self.columns, self.title)

    def plot(self, path: Path, key: str = "history", ylabel: str = "test accuracy") -> None:
        """Draws the curves over the epochs, as `kdl.training.plot_curves`."""
        plot_curves(self.rows, path, key, ylabel, self.title)

    def to_dict(self) -> dict[str, Any]:
        """The title and the rows as plain Python values."""
        return {"title": self.title, "rows": self.rows}

    def to_json(self) -> str:
        """The rows as JSON, a list of objects, with null for NaN and infinities."""
        return as_json(self.rows)

    def save(self, path: Path, form: str | None = None) -> None:
        """Writes the rows, the table or the curves; the folder is made if it does not exist.

        Args:
            path: File to write.
            form: `"json"`, `"txt"`, `"png"`, `"svg"` or `"pdf"`. Defaults to the ending of `path`.

        Raises:
            ValueError: If the form is another.
            OSError: If the file cannot be written.
            ImportError: If it is drawn, and matplotlib is missing.
        """
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        super().save(path, form)
