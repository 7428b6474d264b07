"""Smooth L1 loss."""

import keras
from keras import ops

from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._masked_loss import MaskedLoss
from kdl.losses._matched import check_matched
from kdl.ops._labels import as_float


@keras.saving.register_keras_serializable("kdl")
def smooth_l1(y_true: ArrayLike, y_pred: ArrayLike, beta: float = 1.0) -> Tensor:
    """Smooth L1 loss of each row, the sum over its last axis; see `SmoothL1`.

    Args:
        y_true: Numbers `(…, K)`.
        y_pred: Numbers of the same shape.
        beta: As in `SmoothL1`.

    Returns:
        Tensor `(…)`, float32 at least.

    Raises:
        ValueError: As `SmoothL1`.

    Example:
        >>> [round(float(loss), 4) for loss in smooth_l1([[0.0, 0.0]], [[0.5, -3.0]])]
        [2.625]
    """
    _check(beta)
    y_pred = as_float(y_pred)
    y_true = ops.cast(ops.convert_to_tensor(y_true), y_pred.dtype)
    check_matched(y_true, y_pred)
    distance = ops.abs(y_pred - y_true)
    if beta:
        near = 0.5 * ops.square(distance) / beta
        distance = ops.where(distance < beta, near, distance - 0.5 * beta)
    return ops.sum(distance, -1)


@keras.saving.register_keras_serializable("kdl")
class SmoothL1(MaskedLoss):
    """Smooth L1 loss, the sum over the numbers of a row, for the regression of boxes.

    Of a difference `d` it is `½ d² / β` where `|d| < β`, else `|d| − ½ β`; with `β = 0` it is the
    L1 loss. `keras.losses.Huber(delta=β)` is `β` times as much, and a mean over the row.

    What it learns is mostly the four offsets of a box from its anchor, `kdl.ops.encode_boxes`.
    Leave rows that are no object's out by a sample weight of 0; detectors divide the sum by the
    number of others.

    Shapes: labels and predictions `(batch, …, K)`, values `(batch, …)`, float32.

    Args:
        beta: `β`, from 0 on: where the square ends; 1 by default. Detectors use 1, 1/9, 0.1 or 0.
        reduction: As in Keras; `"sum_over_batch_size"` by default.
        name: Name of the loss.
        dtype: Dtype of the result; float32 by default.

    Raises:
        ValueError: If `beta` is negative or not finite, or labels and predictions differ in shape.

    Source: Girshick, Fast R-CNN (arXiv 1504.08083), equation 3, with `β = 1`.

    Example:
        >>> loss = SmoothL1(beta=1 / 9)
        >>> round(float(loss([[0.0, 0.0]], [[0.05, 0.5]])), 5)  # 0.01125 + 0.44444
        0.45569
    """

    elementwise = True

    def __init__(
        self,
        beta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "smooth_l1",
        dtype: DType = None,
    ) -> None:
        _check(beta)
        super().__init__(smooth_l1, locals())


def _check(beta):
    if not 0 <= beta < float("inf"):
        raise ValueError(f"beta must be a number from 0 on; received {beta!r}.")
