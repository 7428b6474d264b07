"""A sample of arrays that belong together."""

from collections.abc import Sequence

import numpy as np

from kdl._checks import check_integer
from kdl._typing import ArrayLike


def random_subset(
    arrays: Sequence[ArrayLike], count: int | None = None, seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Shuffles arrays alike, and takes the first samples: always the same ones for a seed.

    Args:
        arrays: Arrays `(samples, …)` of the same number of samples, such as `(x, y)`.
        count: Most samples to take; None (default) for all of them.
        seed: Non-negative integer.

    Returns:
        Tuple of the arrays, `(min(count, samples), …)` each.

    Raises:
        ValueError: If the arrays differ in length, or `count` or `seed` is out of range.

    Example:
        >>> x, y = random_subset((np.arange(10) / 10, np.arange(10)), count=3)
        >>> y.shape, bool((10 * x).round().tolist() == y.tolist())
        ((3,), True)
    """
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise ValueError(
            f"Expected arrays of one number of samples; received {[len(a) for a in arrays]}."
        )
    if count is not None:
        count = check_integer("count", count)
    rng = np.random.default_rng(check_integer("seed", seed, least=0))
    rows = rng.permutation(lengths.pop())[:count]
    return tuple(np.asarray(array)[rows] for array in arrays)
