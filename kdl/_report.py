"""The form that all reports share: printed, as JSON, saved."""

import dataclasses
import json
import math
import os
from typing import Any

import numpy as np

from kdl._files import write_whole
from kdl._typing import Path

# Endings of files that `plot` writes, of reports that have one.
_FIGURES = ("png", "svg", "pdf")


class Report:
    """Base of the reports: dataclasses that are printed by `str` and saved by the file's ending.

    A report may have `to_html`, for one page, and `plot(path)`, for a figure.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Count(Report):
        ...     found: int
        >>> print(Count(3).to_json())
        {
         "found": 3
        }
    """

    def to_dict(self) -> dict[str, Any]:
        """All of the report as plain Python values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    def to_json(self) -> str:
        """The report as JSON, with null for NaN and infinities, which it lacks."""
        return as_json(self.to_dict())

    def save(self, path: Path, form: str | None = None) -> None:
        """Writes the report, whole or not at all.

        Args:
            path: File to write.
            form: `"json"` or `"txt"`; `"html"` if it has `to_html`, `"png"`, `"svg"` or `"pdf"`
                if it has `plot`. Defaults to the ending of `path`.

        Raises:
            ValueError: If the form is another.
            OSError: If the file cannot be written.
            ImportError: If it is drawn, and matplotlib is missing.
        """
        texts = {"json": self.to_json, "txt": self.__str__}
        if hasattr(self, "to_html"):
            texts = {"html": self.to_html, **texts}
        forms = [*texts, *(_FIGURES if hasattr(self, "plot") else ())]
        name = form or os.path.splitext(os.fspath(path))[1].lower().removeprefix(".")
        if name not in forms:
            raise ValueError(f"A report is saved as {', '.join(forms)}; received {form or path}.")
        if name in _FIGURES and not os.fspath(path).lower().endswith(f".{name}"):
            raise ValueError(f"The ending of a figure's path is its form: expected {path}.{name}.")
        if name in texts:
            write_whole(path, f"{texts[name]()}\n")
        else:
            self.plot(path)  # type: ignore[attr-defined]


def as_json(content):
    """Plain values and NumPy's as JSON, with null for NaN and infinities."""
    return json.dumps(_plain(content), indent=1, ensure_ascii=False)


def _plain(content):
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, np.ndarray | np.generic):
        return _plain(content.tolist())
    return None if isinstance(content, float) and not math.isfinite(content) else content
