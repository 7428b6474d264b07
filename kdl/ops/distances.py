"""Distances of embeddings."""

from keras import ops

from kdl._typing import ArrayLike, Tensor

METRICS = ("l2", "squared_l2", "cosine")

# Twice the spacing of float32 at 1: what equal rows were seen to leave, and as much again.
_ROUNDING = 2.0**-22


def pairwise_distances(embeddings: ArrayLike, metric: str = "l2") -> Tensor:
    """Distances between all rows of one batch, in float32.

    With rows `xᵢ`, `"squared_l2"` is `d² = ‖xᵢ − xⱼ‖²`, `"l2"` is `d`, and `"cosine"` is
    `1 − xᵢ·xⱼ / (‖xᵢ‖ ‖xⱼ‖)`, or 1 where one of the rows is zero.

    The differences are never held: with `G = X Xᵀ`, `d² = Gᵢᵢ + Gⱼⱼ − 2 Gᵢⱼ`, so the memory is
    `O(B²)`. Squares of large numbers would cancel, so the batch is first moved by one of its rows,
    the nearest to its mean, which changes no distance. What float32 cannot tell from zero is 0,
    with gradient 0: equal rows, and rows nearer to each other than some 1/1000 of their distance to
    the middle.

    Shapes: `(B, D)` → `(B, B)`.

    Args:
        embeddings: Float tensor of rank 2.
        metric: `"l2"` (default), `"squared_l2"` or `"cosine"`.

    Returns:
        Float32 tensor `(B, B)`, symmetric up to rounding.

    Raises:
        ValueError: If the rank is not 2, there is no row, or `metric` is unknown.

    Source: In Defense of the Triplet Loss (arXiv 1703.07737), section 2, on distances that are
    squared and not.

    Example:
        >>> import numpy as np
        >>> distances = pairwise_distances(np.array([[0.0, 0.0], [3.0, 4.0]]))
        >>> [[round(float(d), 4) for d in row] for row in distances]
        [[0.0, 5.0], [5.0, 0.0]]
    """
    check_metric(metric)
    if len(embeddings.shape) != 2 or embeddings.shape[0] == 0:
        raise ValueError(
            f"embeddings must have the shape (batch, dimension), with a row at least; received "
            f"{tuple(embeddings.shape)}."
        )
    rows = ops.cast(embeddings, "float32")
    zero: Tensor = None
    if metric == "cosine":
        rows, zero = _unit_rows(rows)
    rows = rows - ops.stop_gradient(_middle(rows))
    products = ops.matmul(rows, ops.transpose(rows))
    # The norms are those of the product: most of its rounding is the same, and cancels.
    norms = ops.diagonal(products)
    sums = norms[:, None] + norms[None, :]
    squares = sums - 2.0 * products
    equal = squares <= _ROUNDING * sums
    if metric == "cosine":
        return _cosine(squares, equal, zero[:, None], zero[None, :])
    return _finish(squares, equal, metric)


def paired_distances(first: Tensor, second: Tensor, metric: str = "l2") -> Tensor:
    """Distances between rows of the same number, each from its difference: no digits are lost.

    Shapes: `(B, D)` and `(B, D)` → `(B,)`.

    Args:
        first: Float tensor of rank 2.
        second: Float tensor of the same shape.
        metric: As of `pairwise_distances`.
    """
    first, second = ops.cast(first, "float32"), ops.cast(second, "float32")
    if metric == "cosine":
        (first, zero), (second, other_zero) = _unit_rows(first), _unit_rows(second)
    squares = ops.sum(ops.square(first - second), axis=-1)
    if metric == "cosine":
        return _cosine(squares, squares <= 0, zero, other_zero)
    return _finish(squares, squares <= 0, metric)


def unit_rows(embeddings: ArrayLike) -> Tensor:
    """Rows divided by their norms, in float32; zero rows stay zero, with gradient 0.

    Args:
        embeddings: Float tensor of rank 2.
    """
    return _unit_rows(ops.cast(embeddings, "float32"))[0]


def check_metric(metric: str) -> None:
    """Raise ValueError if there is no such metric."""
    if metric not in METRICS:
        raise ValueError(f"The distance must be one of {METRICS}; received {metric!r}.")


def _middle(rows):
    """The row nearest to the mean: unlike the mean, it leaves whole numbers whole."""
    mean = ops.mean(rows, axis=0, keepdims=True)
    nearest = ops.argmin(ops.sum(ops.square(rows - mean), axis=1), axis=0, keepdims=True)
    return ops.take(rows, nearest, axis=0)


def _unit_rows(rows):
    """Rows of norm 1, and 1 for each row that is zero."""
    squares = ops.sum(ops.square(rows), axis=-1, keepdims=True)
    zero = squares <= 0
    units = ops.where(zero, 0.0, rows / ops.sqrt(ops.where(zero, 1.0, squares)))
    return units, ops.cast(zero[:, 0], "float32")


def _cosine(squares, equal, zero, other_zero):
    # 1 − x·y = ½‖x − y‖² for rows of norm 1; beside a row of zeros ½ is missing.
    return 0.5 * (_finish(squares, equal, "squared_l2") + ops.abs(zero - other_zero))


def _finish(squares, equal, metric):
    """Distances from their squares; both `where` are needed, since a gradient of √0 is infinite."""
    if metric == "l2":
        return ops.where(equal, 0.0, ops.sqrt(ops.where(equal, 1.0, squares)))
    return ops.where(equal, 0.0, squares)
