"""Registry of models with their task: named variants, listed and created by name.

Packages that have models register them when they are imported, and are imported when somebody asks.
"""

import dataclasses
import difflib
import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from kdl._packages import PACKAGES

TASKS = ("classifier", "segmenter", "detector")

# Least ratio of `difflib` at which one name may stand for another.
_SIMILAR = 0.75

_entries = {}


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """A named model: a row of the registry.

    Attributes:
        name: Name, such as `shufflenet_v2_x1_0`; it is the model's own default name.
        constructor: Class of the family, or a function that builds the model.
        arguments: The family's own arguments.
        parameters: Trainable parameters with the constructor's default number of classes, which is
            1000 for classifiers.
        macs: Multiply-adds of convolutions and dense layers, one image of `input_shape`, as
            counted on the reference network; None where no reference tells.
        sources: `WeightSource`s of published weights. `weights="imagenet"` takes the first whose
            padding is the model's; where that is not the default, pass `padding=` as well.
        input_shape: Native input, without batch.
        learning_rate: A peak for AdamW that the network takes from random weights, as `kdl train`
            has it.
        task: `"classifier"` (default), `"segmenter"` or `"detector"`.
        counted_macs: Multiply-adds that `kdl.applications.macs` counts, where no reference tells;
            or None.
    """

    name: str
    constructor: Callable
    arguments: dict
    parameters: int
    macs: float | None
    sources: tuple = ()
    input_shape: tuple[int, int, int] = (224, 224, 3)
    learning_rate: float = 0.02
    task: str = "classifier"
    counted_macs: int | None = None

    @property
    def source(self) -> Any:
        """First of `sources`, or None."""
        return self.sources[0] if self.sources else None


def register(entries: Iterable[ModelEntry]) -> None:
    """Add models to the registry, after those that are there.

    Args:
        entries: The models.

    Raises:
        ValueError: If a name is taken, or a task unknown.
    """
    for entry in entries:
        check_task(entry.task)
        if entry.name in _entries:
            raise ValueError(f"There is a model {entry.name!r} already; choose another name.")
        _entries[entry.name] = entry


def list_models(task: str | None = None) -> list[ModelEntry]:
    """Named models of a task, or of every task.

    Args:
        task: `"classifier"`, `"segmenter"` or `"detector"`; None (default) for all.

    Raises:
        ValueError: If there is no such task.

    Example:
        >>> [entry.name for entry in list_models("segmenter")]
        ['spnet50', 'spnet101']
    """
    if task is not None:
        check_task(task)
    for package in PACKAGES:
        if package.models:
            importlib.import_module(f"kdl.{package.name}")
    return [entry for entry in _entries.values() if task in (None, entry.task)]


def create_model(name: str, **arguments: Any) -> Any:
    """Build a model of any task by its name.

    Args:
        name: One of the names in `list_models()`.
        **arguments: Arguments of the constructor beside the family's own.

    Raises:
        ValueError: If there is no such model.
    """
    entries = {entry.name: entry for entry in list_models()}
    if name not in entries:
        raise ValueError(
            f"There is no model {name!r}.{_suggestion(name, list(entries))} "
            f"kdl.applications.list_models(None) names them all."
        )
    entry = entries[name]
    return entry.constructor(**{**entry.arguments, **arguments})


def check_task(task: str) -> None:
    """Raise ValueError unless there is such a task."""
    if task not in TASKS:
        known = ", ".join(map(repr, TASKS))
        raise ValueError(f"task must be one of {known}; received {task!r}.")


def _suggestion(name, known):
    """A sentence with the names that `name` may have meant; empty if there are none."""
    required = _bare(name)
    scores = {
        other: difflib.SequenceMatcher(None, required, _bare(other)).ratio() for other in known
    }
    close = [o for o in known if scores[o] > _SIMILAR or _bare(o).startswith(required)]
    if not required or not close:
        return ""
    close.sort(key=lambda other: -scores[other])  # equal scores stay in their order
    return f" Did you mean {' or '.join(close[:3])}?"


def _bare(name):
    """A name without what is written in many ways."""
    return re.sub(r"[\W_]", "", str(name).lower())
