"""The models by name."""

import difflib
import re

from kdl.applications import (
    mobilenet,
    mobilenet_v2,
    nasnet,
    res2net,
    resnet,
    resnext,
    scnet,
    se_inception,
    senet,
    shufflenet,
    shufflenet_v2,
    squeezenet,
)

_FAMILIES = [
    mobilenet,
    mobilenet_v2,
    shufflenet,
    shufflenet_v2,
    squeezenet,
    resnet,
    resnext,
    senet,
    se_inception,
    scnet,
    res2net,
    nasnet,
]


# Least ratio of `difflib` at which one name may stand for another.
_ALIKE = 0.75


def list_models():
    """All named models, as a list of `ModelEntry`.

    Example:
        >>> [entry.name for entry in list_models() if entry.name.startswith("shufflenet_v2")][:2]
        ['shufflenet_v2_x0_5', 'shufflenet_v2_x1_0']
    """
    return [entry for family in _FAMILIES for entry in family.ENTRIES]


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
    entries = {entry.name: entry for entry in list_models()}
    if name not in entries:
        raise ValueError(
            f"There is no model {name!r}.{_suggestion(name, list(entries))} "
            f"kdl.applications.list_models() names them all."
        )
    entry = entries[name]
    return entry.constructor(**{**entry.arguments, **arguments})


def _suggestion(name, known):
    """A sentence with the names that `name` may have meant; empty if there are none."""
    wanted = _bare(name)
    scores = {other: difflib.SequenceMatcher(None, wanted, _bare(other)).ratio() for other in known}
    close = [other for other in known if scores[other] > _ALIKE or _bare(other).startswith(wanted)]
    if not wanted or not close:
        return ""
    close.sort(key=lambda other: -scores[other])  # those alike keep their order
    return f" Did you mean {' or '.join(close[:3])}?"


def _bare(name):
    """A name without what is written in many ways."""
    return re.sub(r"[\W_]", "", str(name).lower())
