"""A sparsity that grows fast and then slower."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PolynomialDecay:
    """Sparsity at each step of `prune`: from `initial_sparsity` to `final_sparsity`.

    `s(t) = s₁ + (s₀ − s₁) · (1 − (t − t₀) / (t₁ − t₀))^power` for `t` from `begin_step` `t₀` to
    `end_step` `t₁`. Before, nothing is pruned; after, the weights that are zero stay so.

    Args:
        initial_sparsity: `s₀`, from 0 to 1.
        final_sparsity: `s₁`, from 0 to 1.
        begin_step: `t₀`.
        end_step: `t₁`, after `t₀`.
        power: Defaults to 3.
        frequency: The weights to prune are chosen anew after this many steps. Defaults to 100.

    Raises:
        ValueError: If a sparsity is not in [0, 1), or a step is out of order.

    Source: Zhu and Gupta (arXiv 1710.01878), equation 1.

    Example:
        >>> schedule = PolynomialDecay(0.0, 0.8, begin_step=0, end_step=100)
        >>> [round(schedule(step), 4) for step in (0, 10, 50, 100)]
        [0.0, 0.2168, 0.7, 0.8]
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int
    power: float = 3
    frequency: int = 100

    def __post_init__(self):
        """Checks the arguments."""
        check_sparsity("initial_sparsity", self.initial_sparsity)
        check_sparsity("final_sparsity", self.final_sparsity)
        check_steps(self.begin_step, self.frequency)
        if self.end_step <= self.begin_step:
            raise ValueError(
                f"end_step must be after begin_step={self.begin_step}; received {self.end_step}."
            )

    def __call__(self, step):
        """Sparsity at `step`."""
        share = (step - self.begin_step) / (self.end_step - self.begin_step)
        left = (1 - min(max(share, 0.0), 1.0)) ** self.power
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * left


def check_sparsity(name, value):
    """Raises ValueError unless `value` is a share below one."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1; received {value!r}.")


def check_steps(begin_step, frequency):
    """Raises ValueError unless steps can begin and come again."""
    if begin_step < 0 or frequency < 1:
        raise ValueError(
            f"Expected begin_step ≥ 0 and frequency ≥ 1; received {begin_step} and {frequency}."
        )
