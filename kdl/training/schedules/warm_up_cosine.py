"""Learning-rate schedule: linear warm-up, then cosine decay."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._typing import Tensor


@keras.saving.register_keras_serializable("kdl")
class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up over `m` steps, then half a cosine down to the end at step `T`.

    `η(t) = η₀ + (η − η₀)·t/m` for `t < m`,
    `η(t) = η_T + ½·(η − η_T)·(1 + cos(π·(t − m)/(T − m)))` for `m ≤ t < T`, then `η_T`. Below step
    0 the rate is that of step 0.

    The cosine starts where the warm-up ends, so the rate never jumps; the values at `0`, `m` and
    `T` are exactly `η₀`, `η` and `η_T`.

    A step is one batch of training, also where `gradient_accumulation_steps` of Keras's optimizers
    joins several batches to one update. For `n` epochs, five of them for warm-up, pass
    `n * len(dataset)` and `5 * len(dataset)`. The linear scaling rule makes the peak proportional
    to the batch: `0.1 * batch_size / 256` for a ResNet on ImageNet with momentum.

    Args:
        peak_learning_rate: `η`.
        total_steps: `T`, warm-up included.
        warm_up_steps: `m`, from 0 (default) to below `total_steps`.
        initial_learning_rate: `η₀`. Defaults to 0.
        final_learning_rate: `η_T`. Defaults to 0.
        name: Name of the schedule.

    Raises:
        ValueError: If a number of steps or a rate is out of range.

    Source: SGDR (arXiv 1608.03983), section 3; Bag of Tricks (arXiv 1812.01187), sections 3.1 and
    5.1, with the step shifted by the warm-up.

    Example:
        >>> schedule = WarmUpCosine(0.4, total_steps=10, warm_up_steps=2)
        >>> [round(float(schedule(step)), 4) for step in (0, 1, 2, 6, 10)]
        [0.0, 0.2, 0.4, 0.2, 0.0]
    """

    def __init__(
        self,
        peak_learning_rate: float,
        total_steps: int,
        warm_up_steps: int = 0,
        initial_learning_rate: float = 0.0,
        final_learning_rate: float = 0.0,
        name: str = "warm_up_cosine",
    ) -> None:
        super().__init__()
        if total_steps < 1 or not 0 <= warm_up_steps < total_steps < math.inf:
            raise ValueError(
                f"Expected 0 ≤ warm_up_steps < total_steps, both finite; received "
                f"warm_up_steps={warm_up_steps}, total_steps={total_steps}."
            )
        rates = (initial_learning_rate, peak_learning_rate, final_learning_rate)
        if not all(0 <= rate < math.inf for rate in rates) or peak_learning_rate == 0:
            raise ValueError(
                f"Learning rates must not be negative or infinite, and the peak must be positive; "
                f"received initial, peak, final = {rates}."
            )
        self.peak_learning_rate = peak_learning_rate
        self.total_steps = total_steps
        self.warm_up_steps = warm_up_steps
        self.initial_learning_rate = initial_learning_rate
        self.final_learning_rate = final_learning_rate
        self.name = name

    def __call__(self, step: Tensor) -> Tensor:
        """The learning rate at `step`, a float32 scalar."""
        if isinstance(step, int | float | np.generic | np.ndarray):
            # May be larger than a tensor's whole numbers.
            step = np.clip(np.asarray(step) + np.int64(0), 0, self.total_steps)
        step = ops.minimum(ops.maximum(step, 0), self.total_steps)
        # Whole numbers are subtracted as such: float32 counts by ones to 2²⁴ only.
        left = ops.cast(ops.subtract(self.total_steps, step), "float32")
        left = left / (self.total_steps - self.warm_up_steps)
        step = ops.cast(step, "float32")
        warm = _mix(
            self.initial_learning_rate, self.peak_learning_rate, step / max(self.warm_up_steps, 1)
        )
        # ½ (1 + cos(π (1 − left))), and keeps its digits near the end.
        share = ops.square(ops.sin(0.5 * math.pi * ops.minimum(left, 1.0)))
        cosine = _mix(self.final_learning_rate, self.peak_learning_rate, share)
        return ops.where(step < self.warm_up_steps, warm, cosine)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "total_steps": self.total_steps,
            "warm_up_steps": self.warm_up_steps,
            "initial_learning_rate": self.initial_learning_rate,
            "final_learning_rate": self.final_learning_rate,
            "name": self.name,
        }


def _mix(start, end, share):
    """From `start` to `end`; in this form both ends are exact."""
    return start * (1.0 - share) + end * share
