"""The same sparsity at all steps."""

import dataclasses

from kdl.compression.tfmot.polynomial_decay import check_sparsity, check_steps


@dataclasses.dataclass(frozen=True)
class ConstantSparsity:
    """Sparsity at each step of `prune`: `sparsity` from `begin_step` on.

    Args:
        sparsity: Share of zeros, from 0 to 1.
        begin_step: Before it nothing is pruned. Defaults to 0.
        end_step: After it the weights that are zero stay so; −1 (default): never.
        frequency: The weights to prune are chosen anew after this many steps. Defaults to 100.

    Raises:
        ValueError: If the sparsity is not in [0, 1), or a step is out of order.

    Example:
        >>> ConstantSparsity(0.5, begin_step=10)(10)
        0.5
    """

    sparsity: float
    begin_step: int = 0
    end_step: int = -1
    frequency: int = 100

    def __post_init__(self):
        """Checks the arguments."""
        check_sparsity("sparsity", self.sparsity)
        check_steps(self.begin_step, self.frequency)
        if self.end_step != -1 and self.end_step < self.begin_step:
            raise ValueError(
                f"end_step must be −1 or not before begin_step={self.begin_step}; received "
                f"{self.end_step}."
            )

    def __call__(self, step):
        """Sparsity at `step`."""
        return self.sparsity if step >= self.begin_step else 0.0
