"""Registration of the classifiers, and the models by name."""

import dataclasses
from typing import Any

import keras

from kdl import _registry
from kdl._registry import ModelEntry
from kdl.applications import (
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
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
from kdl.applications._counted_macs import COUNTED_MACS

_FAMILIES = [
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
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

_registry.register(
    dataclasses.replace(entry, counted_macs=COUNTED_MACS.get(entry.name))
    for family in _FAMILIES
    for entry in family.ENTRIES
)


def list_models(task: str | None = "classifier") -> list[ModelEntry]:
    """Named models of a task, as a list of `ModelEntry`.

    Args:
        task: `"classifier"` (default), `"segmenter"` or `"detector"`; None for every task.

    Raises:
        ValueError: If there is no such task.

    Example:
        >>> [entry.name for entry in list_models() if entry.name.startswith("shufflenet_v2")][:2]
        ['shufflenet_v2_x0_5', 'shufflenet_v2_x1_0']
        >>> [entry.name for entry in list_models("segmenter")]
        ['spnet50', 'spnet101']
    """
    return _registry.list_models(task)


def create_model(name: str, **arguments: Any) -> keras.Model:
    """Build a model of any task by its name.

    Args:
        name: One of the names in `list_models(None)`.
        **arguments: Arguments of the constructor beside the family's own.

    Raises:
        ValueError: If there is no such model.

    Example:
        >>> create_model("shufflenet_v2_x0_5", input_shape=(32, 32, 3), classes=10).output_shape
        (None, 10)
    """
    return _registry.create_model(name, **arguments)
