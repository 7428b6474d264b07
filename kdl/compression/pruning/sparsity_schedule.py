"""Base of the sparsity schedules."""

import numbers
from typing import Any

from keras import ops

from kdl._checks import check_integer
from kdl._typing import Tensor


class SparsitySchedule:
    """Share of weights that are zero after each step; base of the schedules.

    A schedule of your own derives from it and has `__call__(step)`, which gives the share as a
    float32 scalar with `keras.ops` alone, and `get_config`. Register it with Keras, and models that
    are pruned by it can be saved.

    Args:
        begin_step: Steps (batches of training) done when pruning begins. 0: before the first.
        end_step: Steps done when it ends, at least `begin_step`.
        frequency: Steps from one choice of the weights to the next.

    Raises:
        ValueError: If a step is negative, the end comes before the beginning, or `frequency` is not
            a positive integer.

    Example:
        >>> import keras
        >>> class Halves(SparsitySchedule):
        ...     def __call__(self, step):
        ...         return keras.ops.where(step < 10, 0.25, 0.5)
        >>> schedule = Halves(begin_step=0, end_step=10, frequency=5)
        >>> [step for step in range(20) if schedule.due(step)]
        [0, 5, 10]
    """

    def __init__(self, begin_step: int = 0, end_step: int = 0, frequency: int = 100) -> None:
        begin_step = check_integer("begin_step", begin_step, least=0)
        end_step = check_integer("end_step", end_step, least=0)
        if end_step < begin_step:
            raise ValueError(
                f"end_step must be at least begin_step = {begin_step}; received {end_step}."
            )
        frequency = check_integer("frequency", frequency)
        self.begin_step = begin_step
        self.end_step = end_step
        self.frequency = frequency

    def __call__(self, step: Tensor) -> Tensor:
        """Share of zeros that is meant after `step` steps, a float32 scalar."""
        raise NotImplementedError(f"{type(self).__name__} must have a method __call__(step).")

    def due(self, step: Tensor) -> Tensor:
        """Tell if weights are chosen anew after `step` steps, a boolean scalar.

        That is so at the beginning, every `frequency` steps from there, and at the end.
        """
        step = ops.convert_to_tensor(step, "int32")
        running = ops.logical_and(step >= self.begin_step, step <= self.end_step)
        regular = ops.equal(ops.mod(step - self.begin_step, self.frequency), 0)
        return ops.logical_and(running, ops.logical_or(regular, ops.equal(step, self.end_step)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "begin_step": self.begin_step,
            "end_step": self.end_step,
            "frequency": self.frequency,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SparsitySchedule":
        """The schedule with these arguments."""
        return cls(**config)


def check_sparsity(name: str, value: float) -> float:
    """Returns `value`, or raises ValueError unless it is a number from 0 to below 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise ValueError(f"{name} must be from 0 to below 1; received {value!r}.")
    return float(value)
