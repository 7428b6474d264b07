"""Inputs of a model as arrays, with what is known of them: labels, class names, preprocessing."""

import dataclasses
import math
from typing import Any

import numpy as np

from kdl._warn import warn
from kdl._words import some_of
from kdl.data._class_numbers import class_numbers
from kdl.data._input_form import leaves, map_form
from kdl.data.input_spec import InputSpec


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Inputs of a model, and what is known of them.

    Attributes:
        inputs: Array `(samples, …)` of the data's own dtype; of a model with several inputs a list
            or dict of them, as the model takes it.
        labels: Array `(samples, …)`, or None.
        class_names: Names of the classes in the order of the labels, or None.
        input_spec: `kdl.data.InputSpec` by which the images became inputs, or None.
    """

    inputs: np.ndarray | list | dict
    labels: np.ndarray | None = None
    class_names: list | None = None
    input_spec: InputSpec | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.arrays[0])

    @property
    def arrays(self) -> list[np.ndarray]:
        """List of the arrays of all inputs."""
        return leaves(self.inputs)

    def subset(self, chosen: np.ndarray) -> "Samples":
        """Those samples that a boolean array `(samples,)` chooses."""
        labels = None if self.labels is None else self.labels[chosen]
        inputs = map_form(lambda array: array[chosen], self.inputs)
        return dataclasses.replace(self, inputs=inputs, labels=labels)

    def matched(self, info: Any, argument: str = "data") -> "Samples":
        """These samples with labels that count the classes as a model does.

        Classes are matched by name. Where the model does not have them all, there is a warning and
        the labels are left out, since no accuracy can be told.

        Args:
            info: `kdl.data.ModelInfo` of the model.
            argument: What messages call the data.

        Raises:
            ValueError: If the model wants its images otherwise than these were read.
        """
        ours, theirs = self.input_spec, info.input_spec
        if ours is not None and theirs is not None and not ours.agrees_with(theirs):
            raise ValueError(
                f"{argument} was read with {self.input_spec}, but the model takes images by "
                f"{info.input_spec}. Read the data with the model's."
            )
        if self.labels is None or self.class_names is None or info.labels is None:
            return self
        here, there = list(self.class_names), list(info.labels)
        if here == there or math.prod(self.labels.shape[2:]) != 1:  # alike, or labels of pixels
            return self
        if not set(here) <= set(there):
            warn(
                f"{argument} has the classes {some_of(here)}, the model {some_of(there)}: accuracy "
                f"is left out."
            )
            return dataclasses.replace(self, labels=None, class_names=None)
        numbers = np.array([there.index(name) for name in here])
        labels = class_numbers(self.labels, argument).astype("int64")
        if labels.min() < 0 or labels.max() >= len(here):
            raise ValueError(
                f"{argument} has {len(here)} classes but labels {labels.min()} … {labels.max()}."
            )
        return dataclasses.replace(self, labels=numbers[labels], class_names=there)
