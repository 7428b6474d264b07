"""Constant sparsity."""

from typing import Any

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.compression.pruning.sparsity_schedule import SparsitySchedule, check_sparsity


@keras.saving.register_keras_serializable("kdl")
class ConstantSparsity(SparsitySchedule):
    """Prunes once, at `begin_step`; afterwards the choice stays.

    Args:
        sparsity: Share of zeros, from 0 to below 1.
        begin_step: Steps (batches of training) done when it is cut. Defaults to 0: before training.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> schedule = ConstantSparsity(0.5, begin_step=100)
        >>> [step for step in range(300) if schedule.due(step)], float(schedule(100))
        ([100], 0.5)
    """

    def __init__(self, sparsity: float, begin_step: int = 0) -> None:
        super().__init__(begin_step, begin_step)
        self.sparsity = check_sparsity("sparsity", sparsity)

    def __call__(self, step: Tensor) -> Tensor:
        """The sparsity."""
        return ops.convert_to_tensor(self.sparsity, "float32")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"sparsity": self.sparsity, "begin_step": self.begin_step}
