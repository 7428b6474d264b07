"""Cross-entropy with label smoothing."""

import keras
from keras import ops

from kdl._checks import check_choice
from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._masked_loss import MaskedLoss
from kdl.ops._concrete import marked
from kdl.ops._labels import (
    as_float,
    check_labels,
    check_shares,
    cross_entropy,
    log_of,
    one_hot,
    sparse_labels,
)

SPREADS = ("all", "others")


@keras.saving.register_keras_serializable("kdl")
def label_smoothing_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    label_smoothing: float = 0.1,
    spread: str = "all",
    from_logits: bool = False,
    axis: int = -1,
) -> Tensor:
    """Cross-entropy of each sample with smoothed labels; see `LabelSmoothingCrossentropy`.

    Args:
        y_true: Class numbers, or one share for each class.
        y_pred: Logits or probabilities.
        label_smoothing: As in `LabelSmoothingCrossentropy`, like all that follow.
        spread: `"all"` or `"others"`.
        from_logits: Whether `y_pred` are logits.
        axis: Axis of the classes.

    Returns:
        Tensor of the shape of `y_pred` without `axis`, float32.

    Raises:
        ValueError: As `LabelSmoothingCrossentropy`.

    Example:
        >>> losses = label_smoothing_crossentropy([0], [[2.0, 1.0, 0.0, -1.0]], from_logits=True)
        >>> [round(float(loss), 5) for loss in losses]
        [0.59019]
    """
    _check(label_smoothing, spread)
    y_pred = as_float(y_pred)
    classes = y_pred.shape[axis]
    if classes < 2:
        raise ValueError(
            f"y_pred must have at least 2 classes at axis {axis}; received shape "
            f"{tuple(y_pred.shape)}."
        )
    targets, wrong = _dense(ops.convert_to_tensor(y_true), y_pred, axis)
    # Spread over the others, ε is ε · K / (K − 1) spread over all.
    share = label_smoothing * (1 if spread == "all" else classes / (classes - 1))
    targets = (1.0 - share) * targets + share / classes
    log_p = ops.log_softmax(y_pred, axis=axis) if from_logits else log_of(y_pred)
    return marked(cross_entropy(targets, log_p, axis), wrong)


@keras.saving.register_keras_serializable("kdl")
class LabelSmoothingCrossentropy(MaskedLoss):
    """Cross-entropy with label smoothing.

    `CE = −Σ_k q_k ln p_k`. With `K` classes and `spread="all"` the share ε of each label is given
    to all of them alike, `q_k = (1 − ε) · y_k + ε / K`. With `spread="others"` the class of the
    label is left with `1 − ε` and each other one gets `ε / (K − 1)`; that is the same as
    `ε · K / (K − 1)` spread over all. The best logit of the class is then no longer infinite, but
    `ln((K − 1)(1 − ε) / ε)` above the others, or `ln((1 − ε + ε / K) / (ε / K))` for `"all"`.

    Shapes: predictions `(batch, …, K)`, or with the classes at `axis`; labels of the same shape,
    shares between 0 and 1 that sum to 1; or class numbers, without that axis or with 1 there.

    Args:
        label_smoothing: ε, between 0 and 1; 0.1 by default.
        spread: `"all"` (default, as in Keras) or `"others"`.
        from_logits: Whether predictions are logits; False by default: they are probabilities.
        axis: Axis of the classes, the last by default; 1 for channels-first predictions.
        reduction: As in Keras; `"sum_over_batch_size"` by default.
        name: Name of the loss.
        dtype: Dtype of the result; float32 by default.

    Raises:
        ValueError: If an argument is out of range, shapes do not fit or there are fewer than two
            classes; or, where values are known (outside of compiled code), if a label is out of
            range. In compiled code such a loss is NaN.

    Source: Rethinking the Inception Architecture (arXiv 1512.00567), section 7, for `"all"`; Bag of
    Tricks (arXiv 1812.01187), section 5.2, for `"others"`.

    Example:
        >>> loss = LabelSmoothingCrossentropy(spread="others", from_logits=True)
        >>> round(float(loss([0], [[2.0, 1.0, 0.0, -1.0]])), 5)
        0.64019
    """

    elementwise = True

    def __init__(
        self,
        label_smoothing: float = 0.1,
        spread: str = "all",
        from_logits: bool = False,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "label_smoothing_crossentropy",
        dtype: DType = None,
    ) -> None:
        _check(label_smoothing, spread)
        super().__init__(label_smoothing_crossentropy, locals())


def check_smoothing(label_smoothing: float) -> None:
    """Raises ValueError unless a share is between 0 and 1."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1; received {label_smoothing!r}.")


def _check(label_smoothing, spread):
    check_smoothing(label_smoothing)
    check_choice("spread", spread, SPREADS)


def _dense(y_true, y_pred, axis):
    """Labels as shares of the classes, and what is wrong with them."""
    labels = sparse_labels(y_true, y_pred, axis)
    if labels is None:
        return ops.cast(y_true, y_pred.dtype), check_shares(y_true)
    classes = y_pred.shape[axis]
    return one_hot(labels, classes, y_pred.dtype, axis), check_labels(labels, classes)
