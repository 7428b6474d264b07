"""Focal loss."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kdl._checks import check_choice
from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._anchors import as_targets, from_labels, from_targets
from kdl.losses._masked_loss import MaskedLoss
from kdl.ops import batch_total
from kdl.ops._concrete import marked
from kdl.ops._labels import (
    as_float,
    check_shares,
    cross_entropy,
    log_of,
    one_hot,
    sparse_labels,
)

ACTIVATIONS = ("sigmoid", "softmax")


@keras.saving.register_keras_serializable("kdl")
def focal_loss(
    y_true: ArrayLike | dict[str, ArrayLike],
    y_pred: ArrayLike,
    alpha: float | Sequence[float] | None = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    activation: str = "sigmoid",
    normalize_by_positives: bool = False,
    background_class: int = -1,
    ignore_class: int = -2,
    axis_name: str | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Focal loss of each anchor, the sum over its classes; see `FocalLoss`.

    Args:
        y_true: Labels `(…, K)` or `(…,)`, or targets.
        y_pred: Logits or probabilities `(…, K)`.
        alpha: As in `FocalLoss`, like all that follow.
        gamma: Exponent.
        from_logits: Whether `y_pred` are logits.
        activation: `"sigmoid"` or `"softmax"`.
        normalize_by_positives: Whether to divide by the number of positive anchors.
        background_class: Label of background.
        ignore_class: Label that is left out.
        axis_name: Axis that JAX maps over.
        mask: Booleans `(…,)`, which anchors count, as Keras's masks; None for all.

    Returns:
        Tensor `(…,)`, float32.

    Raises:
        ValueError: As `FocalLoss`.

    Example:
        >>> losses = focal_loss([[1.0, 0.0]], [[0.9, 0.1]])
        >>> [round(float(loss), 6) for loss in losses]  # 0.25 · 0.1² · ln(1/0.9), and 3 times it
        [0.001054]
    """
    _check(alpha, gamma, activation)
    y_pred = as_float(y_pred)
    classes = y_pred.shape[-1]
    anchors = _anchors(y_true, y_pred, activation, background_class, ignore_class, mask)
    if anchors is None:
        targets = ops.cast(y_true, y_pred.dtype)
        targets = targets if mask is None else ops.where(ops.expand_dims(mask, -1), targets, 0.0)
        wrong, valid = check_shares(targets), mask
    else:
        labels = ops.where(anchors.valid, anchors.labels, ops.cast(-1, anchors.labels.dtype))
        targets = one_hot(labels, classes, y_pred.dtype)
        wrong, valid = anchors.wrong, anchors.valid
    form = _sigmoid_form if activation == "sigmoid" else _softmax_form
    losses = form(targets, y_pred, _weights(alpha, classes, y_pred.dtype), gamma, from_logits)
    if valid is not None:
        losses = losses * ops.cast(valid, losses.dtype)
    if normalize_by_positives:
        shown = (
            _shares_of_classes(targets, background_class) if anchors is None else anchors.positive
        )
        positives = batch_total(ops.sum(ops.cast(shown, losses.dtype)), axis_name)
        losses = losses / ops.maximum(positives, 1.0)
    return marked(losses, wrong)


@keras.saving.register_keras_serializable("kdl")
class FocalLoss(MaskedLoss):
    """Focal loss: cross-entropy that down-weights what is classified well already.

    Sigmoid form, for each anchor the sum over its classes, a binary one each:
    `FL = −Σ_k α_t · (1 − p_t)^γ · ln p_t`, with `p_t = p` and `α_t = α` where the label is 1, and
    `1 − p` and `1 − α` where it is 0; between 0 and 1 both are mixed, `p_t = y·p + (1 − y)(1 − p)`.
    Softmax form, one class of all an anchor: `FL = −Σ_k y_k · α · (1 − p_k)^γ · ln p_k`.

    As the value of an anchor is a sum over classes, `reduction="sum"` is the sum over everything.
    RetinaNet divides it by the number of positive anchors in the batch:
    `FocalLoss(normalize_by_positives=True, reduction="sum")`. A batch without one keeps the loss of
    its background, divided by 1.

    Shapes: predictions `(…, K)`, one score for each of `K` classes; labels of the same shape, each
    between 0 and 1, or class numbers `(…,)` or `(…, 1)`. In the sigmoid form the label
    `background_class` says that an anchor shows none of the `K` classes. Anchors that neither
    should nor should not be found have the label `ignore_class`, and loss 0; among dense labels,
    give them `sample_weight` 0. A single class in the sigmoid form takes such a map alone,
    `(…, 1)`, with 1 for the class and 0 for background.

    Or targets without such codes, a dict or named tuple of `"labels"` `(…,)`, which count the
    classes without background, and of the masks `"positive"` and (optional) `"valid"`: anchors
    that show a class, and those that count. Where background is one of the scores, in the softmax
    form or by a `background_class` among them, classes from there on stand one place later.

    Args:
        alpha: Weight of positives against negatives, 0.25 by default; one number a class in a list,
            or None for no weights. In the softmax form it is a plain factor.
        gamma: Exponent, 2 by default; 0 gives weighted cross-entropy.
        from_logits: Whether predictions are logits; False by default: they are probabilities, which
            are less exact near 0 and 1.
        activation: `"sigmoid"` (default) or `"softmax"`.
        normalize_by_positives: Whether to divide by `max(N, 1)`, with `N` the positive anchors of
            the batch, on all devices together: those with a class other than `background_class`.
            False by default.
        background_class: Class number of background: −1 by default, that is none of the `K`.
            In the softmax form background is one of the classes; then only targets and
            `normalize_by_positives` need it.
        ignore_class: Class number of anchors that are left out, −2 by default.
        reduction: As in Keras; `"sum_over_batch_size"` by default, the mean over anchors.
        name: Name of the loss.
        dtype: Dtype of the result; float32 by default.
        axis_name: Name of the axis that JAX maps over, in `pmap` or `shard_map`; see
            `kdl.ops.batch_total`. Defaults to None.

    Raises:
        ValueError: If an argument is out of range; if shapes do not fit; or, where values are known
            (outside of compiled code), if a label is none of the above. In compiled code such a
            loss is NaN.

    Source: Focal Loss for Dense Object Detection (arXiv 1708.02002), sections 3 and 4.

    Example:
        >>> loss = FocalLoss(from_logits=True, normalize_by_positives=True, reduction="sum")
        >>> logits = [[2.0, -1.0, 0.0], [-4.0, 0.5, -2.0], [9.0, 9.0, 9.0]]
        >>> round(float(loss([0, -1, -2], logits)), 4)  # a positive, background, one left out
        0.4318
    """

    elementwise = True

    def __init__(
        self,
        alpha: float | Sequence[float] | None = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        activation: str = "sigmoid",
        normalize_by_positives: bool = False,
        background_class: int = -1,
        ignore_class: int = -2,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "focal_loss",
        dtype: DType = None,
        axis_name: str | None = None,
    ) -> None:
        _check(alpha, gamma, activation)
        alpha = None if alpha is None else np.asarray(alpha).tolist()
        super().__init__(focal_loss, locals())


def _anchors(y_true, y_pred, activation, background_class, ignore_class, mask):
    """Labels of the anchors and their masks, or None if labels are dense."""
    classes, scored_background = y_pred.shape[-1], activation == "softmax"
    targets = as_targets(y_true, y_pred)
    if targets is not None:
        return from_targets(targets, classes, background_class, scored_background, mask)
    y_true = ops.convert_to_tensor(y_true)
    labels = sparse_labels(y_true, y_pred)
    if labels is None:
        return None
    if classes == 1 and activation == "sigmoid":
        raise ValueError(
            f"For a single class, y_true must be a map of the shape of y_pred, "
            f"{tuple(y_pred.shape)}: 1 for the class and 0 for background, since a 0 among class "
            f"numbers would be the class itself; received shape {tuple(y_true.shape)}. Anchors to "
            f"ignore get sample_weight 0."
        )
    return from_labels(labels, classes, background_class, ignore_class, scored_background, mask)


def _check(alpha, gamma, activation):
    check_choice("activation", activation, ACTIVATIONS)
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"gamma must be at least 0; received {gamma!r}.")
    if alpha is None:
        return
    weights = np.asarray(alpha, "float32")
    most = 1 if activation == "sigmoid" else np.finfo("float32").max
    if weights.ndim > 1 or not ((weights >= 0) & (weights <= most)).all():
        raise ValueError(
            f"alpha must be None, a number or one number a class, at least 0, and at most 1 with "
            f"activation='sigmoid'; received {alpha!r}."
        )


def _weights(alpha, classes, dtype):
    """A number, a tensor with one for each class, or None."""
    if alpha is None or np.ndim(alpha) == 0:
        return alpha
    if len(alpha) != classes:
        raise ValueError(
            f"alpha must be one number for each of {classes} classes; received {alpha!r}."
        )
    return ops.convert_to_tensor(alpha, dtype=dtype)


def _sigmoid_form(targets, y_pred, alpha, gamma, from_logits):
    if from_logits:
        p, entropy = _of_logits(targets, y_pred)
    else:
        p = ops.clip(y_pred, 0.0, 1.0)
        entropy = -targets * log_of(p) - (1.0 - targets) * log_of(1.0 - p)
    # 1 − p_t, in the fewest steps: each is a pass over all scores.
    losses = _power((1.0 - 2.0 * targets) * p + targets, gamma) * entropy
    if alpha is not None:
        losses = losses * ((2.0 * alpha - 1.0) * targets + (1.0 - alpha))
    return ops.sum(losses, axis=-1)


def _of_logits(targets, logits):
    """Probabilities and cross-entropies; at −∞ and ∞ as at the last number before them."""
    most = np.finfo(keras.backend.standardize_dtype(logits.dtype)).max
    logits = ops.clip(logits, -most, most)
    if keras.backend.backend() != "jax":
        return ops.sigmoid(logits), ops.binary_crossentropy(targets, logits, from_logits=True)
    # XLA has no fused cross-entropy, and its softplus takes several times as long as this.
    positive = logits > 0
    smaller = ops.sigmoid(ops.where(positive, -logits, logits))  # of p and 1 − p
    p = ops.where(positive, 1.0 - smaller, smaller)
    return p, ops.where(positive, logits, 0.0) - targets * logits - ops.log1p(-smaller)


def _softmax_form(targets, y_pred, alpha, gamma, from_logits):
    log_p = ops.log_softmax(y_pred, axis=-1) if from_logits else log_of(y_pred)
    weights = targets * _power(-ops.expm1(log_p), gamma)
    return cross_entropy(weights if alpha is None else weights * alpha, log_p)


def _power(base, gamma):
    """`base ** gamma`, with a finite gradient at 0 for every `gamma`."""
    if gamma == 0:
        return ops.ones_like(base)
    if gamma == 2:
        return ops.square(base)
    if gamma != int(gamma):
        base = ops.maximum(base, keras.backend.epsilon())
    return ops.power(base, gamma)


def _shares_of_classes(targets, background_class):
    """Share of classes in each anchor, without background."""
    shares = ops.sum(targets, axis=-1)
    if 0 <= background_class < targets.shape[-1]:
        shares = shares - targets[..., background_class]
    return ops.minimum(shares, 1.0)
