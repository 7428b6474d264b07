"""Polynomial sparsity schedule: fast at first, slow at the end."""

from typing import Any

import keras
from keras import ops

from kdl._typing import Tensor
from kdl.compression.pruning.sparsity_schedule import SparsitySchedule, check_sparsity


@keras.saving.register_keras_serializable("kdl")
class PolynomialSparsity(SparsitySchedule):
    """Sparsity that follows a polynomial from its initial to its final value.

    After `t` steps (batches of training), clipped to `[t₀, t₁]`,

        s_t = s_f + (s_i − s_f) · (1 − (t − t₀) / (t₁ − t₀))^p

    With the paper's power 3 most is pruned early, while many weights are redundant, and little at
    the end. Leave some training after `t₁` for the network to recover.

    Args:
        final_sparsity: `s_f`, from 0 to below 1.
        end_step: `t₁`, an integer above `begin_step`.
        begin_step: `t₀`. Defaults to 0.
        initial_sparsity: `s_i`, at most `s_f`. Defaults to 0.
        power: `p`, above 0. Defaults to 3.
        frequency: Steps from one choice of the weights to the next. Defaults to 100.

    Raises:
        ValueError: If an argument is out of range.

    Source: Zhu and Gupta (arXiv 1710.01878), equation 1.

    Example:
        >>> schedule = PolynomialSparsity(0.8, end_step=100)
        >>> [round(float(schedule(t)), 4) for t in (0, 10, 50, 100, 200)]
        [0.0, 0.2168, 0.7, 0.8, 0.8]
    """

    def __init__(
        self,
        final_sparsity: float,
        end_step: int,
        begin_step: int = 0,
        initial_sparsity: float = 0.0,
        power: float = 3,
        frequency: int = 100,
    ) -> None:
        super().__init__(begin_step, end_step, frequency)
        if end_step == begin_step:
            raise ValueError(
                f"end_step must be above begin_step = {begin_step}; received {end_step}. For one "
                f"cut take ConstantSparsity."
            )
        self.final_sparsity = check_sparsity("final_sparsity", final_sparsity)
        self.initial_sparsity = check_sparsity("initial_sparsity", initial_sparsity)
        if self.initial_sparsity > self.final_sparsity:
            raise ValueError(
                f"initial_sparsity must be at most final_sparsity = {final_sparsity}; received "
                f"{initial_sparsity}."
            )
        if not power > 0:
            raise ValueError(f"power must be above 0; received {power!r}.")
        self.power = power

    def __call__(self, step: Tensor) -> Tensor:
        """`s_t`, a float32 scalar."""
        done = ops.cast(step, "float32") - self.begin_step
        left = 1 - ops.clip(done / (self.end_step - self.begin_step), 0.0, 1.0)
        change = self.initial_sparsity - self.final_sparsity
        return self.final_sparsity + change * ops.power(left, float(self.power))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "final_sparsity": self.final_sparsity,
            "initial_sparsity": self.initial_sparsity,
            "power": self.power,
        }
