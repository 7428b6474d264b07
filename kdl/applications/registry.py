"""The models by name."""

import dataclasses

from kdl.applications import shufflenet_v2
from kdl.applications.application import Application
from kdl.applications.weights.source import WeightSource


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """A named model.

    Attributes:
        name: Name, such as `shufflenet_v2_x1_0`.
        constructor: Class of the family.
        arguments: The family's own arguments.
        parameters: Trainable parameters with 1000 classes.
        input_shape: Native input, without batch.
        source: `WeightSource` of `weights="imagenet"`, or None.
    """

    name: str
    constructor: type[Application]
    arguments: dict
    parameters: int
    input_shape: tuple
    source: WeightSource | None


def list_models():
    """All named models, as a list of `ModelEntry`.

    Example:
        >>> [entry.name for entry in list_models()][:2]
        ['shufflenet_v2_x0_5', 'shufflenet_v2_x1_0']
    """
    return list(_entries().values())


def create_model(name, **arguments):
    """Builds a model by its name.

    Args:
        name: One of the names in `list_models()`.
        **arguments: Arguments of the constructor beside the family's own.

    Raises:
        ValueError: If there is no such model.

    Example:
        >>> create_model("shufflenet_v2_x0_5", input_shape=(32, 32, 3), classes=10).output_shape
        (None, 10)
    """
    entries = _entries()
    if name not in entries:
        raise ValueError(f"There is no model {name!r}. Known: {', '.join(entries)}.")
    entry = entries[name]
    return entry.constructor(**{**entry.arguments, **arguments})


def _entries():
    families = [shufflenet_v2.ENTRIES]
    return {name: ModelEntry(name, *rest) for family in families for name, *rest in family}
