"""Hard-negative mining: the loss of all positives and of the hardest negatives."""

from collections.abc import Callable
from typing import Any, ClassVar

import keras
from keras import ops

from kdl._checks import check_choice
from kdl._deprecation import renamed_argument, renamed_attribute
from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._anchors import as_targets, from_labels, from_targets
from kdl.losses._masked_loss import MaskedLoss
from kdl.ops import batch_total
from kdl.ops._concrete import marked
from kdl.ops._labels import cross_entropy, one_hot
from kdl.ops._shapes import shapes_match

SCORES = ("loss", "background")


@keras.saving.register_keras_serializable("kdl")
@renamed_argument("background", "background_class")
@renamed_argument("normalize", "normalize_by_positives")
def hard_negative_mining(
    y_true: ArrayLike | dict[str, ArrayLike],
    y_pred: ArrayLike,
    loss: keras.losses.Loss | Callable | None = None,
    ratio: float = 3.0,
    background_class: int = 0,
    ignore_class: int | None = None,
    minimum_negatives: int = 0,
    score: str = "loss",
    normalize_by_positives: bool = True,
    axis_name: str | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Hard-negative mining: the loss of each anchor that counts, 0 for the others.

    The arguments are those of `kdl.losses.HardNegativeMining`.

    Args:
        y_true: Labels `(batch, anchors)`, rows of them `(batch, anchors, classes)`, or targets.
        y_pred: Predictions `(batch, anchors, classes)`.
        loss: The loss of an anchor; None for softmax cross-entropy of logits.
        ratio: How many negatives count for each positive of an image.
        background_class: Label of the negatives, and its place among the classes.
        ignore_class: Label of anchors that never count, or None.
        minimum_negatives: Least number of negatives of an image.
        score: What makes a negative hard, `"loss"` or `"background"`.
        normalize_by_positives: Whether to divide by the number of positives in the batch.
        axis_name: Axis that JAX maps over.
        mask: Booleans `(batch, anchors)`, which anchors count, as Keras's masks; None for all.

    Returns:
        Tensor `(batch, anchors)`.

    Raises:
        ValueError: If an argument is out of range, or the shapes do not fit.
    """
    _check_arguments(loss, ratio, minimum_negatives, score, background_class)
    y_pred = ops.convert_to_tensor(y_pred)
    targets, anchors = _targets(y_true, y_pred, loss, background_class, ignore_class, mask)
    losses = _loss_of_anchors(loss, targets, y_pred)
    positives = ops.sum(ops.cast(anchors.positive, "int32"), -1)
    size = ops.cast(ops.shape(y_pred)[1], "float32")
    allowed = ops.floor(ops.minimum(ratio * ops.cast(positives, "float32"), size))
    allowed = ops.maximum(ops.cast(allowed, "int32"), minimum_negatives)
    hardness = losses if score == "loss" else _against_background(y_pred, background_class)
    hard = _hardest(hardness, anchors.negative, allowed)
    # What is not a number shows: with a gradient that is none, a finite loss would hide it.
    counts = anchors.positive | hard | ops.isnan(losses)
    values = ops.where(counts if mask is None else counts & mask, losses, 0.0)
    if normalize_by_positives:
        total = batch_total(ops.cast(ops.sum(positives), "float32"), axis_name)
        values = values / ops.maximum(total, 1.0)
    return marked(values, anchors.wrong)


@keras.saving.register_keras_serializable("kdl")
class HardNegativeMining(MaskedLoss):
    """Hard-negative mining: of a loss of anchors all positives and the hardest negatives.

    `L = (Σ_positives l + Σ_hard l) / max(N, 1)`, with `N` positives in the batch, on all
    devices together. In an image with
    `n` of them, hard are the `min(max(⌊ratio · n⌋, minimum_negatives), negatives)` negatives of the
    highest score; where scores are equal, the first ones. An image without positives gives no
    negatives by default. The choice is a constant to the gradient, and all shapes are static. An
    anchor whose loss is NaN counts always.

    The score of a negative is its own loss, which under cross-entropy is
    `logsumexp(z) − z_background`.

    Shapes: labels `(batch, anchors)` or rows of them `(batch, anchors, classes)`, background
    included, predictions `(batch, anchors, classes)` → one value an anchor before the reduction.
    Or targets, as of `kdl.losses.FocalLoss`: a dict of `"labels"`, which count the classes without
    background, `"positive"` and `"valid"`, `(batch, anchors)` each.

    Args:
        loss: A function `loss(y_true, y_pred)` or a Keras loss with `reduction="none"` that gives
            one value an anchor. Defaults to None: softmax cross-entropy of logits, for labels or
            rows.
        ratio: How many negatives count for each positive. Defaults to 3.
        background_class: Label of the negatives, and its place among the classes. Defaults to 0.
        ignore_class: Label of anchors that are neither positive nor negative, such as −2; None
            (default) for no such. Rows without a positive number are ignored always.
        minimum_negatives: Least number of negatives of an image, where there are so many. Defaults
            to 0.
        score: What makes a negative hard: `"loss"` (default), or `"background"` for
            `logsumexp(z) − z_background` of the predictions, whatever the loss.
        normalize_by_positives: Whether to divide by the positives of the batch. Defaults to True.
        name: Name of the loss.
        reduction: Keras's reduction. Defaults to `"sum"`, the loss of SSD if divided by the
            positives. Weights are `(batch,)`, or of each anchor.
        dtype: Dtype of the value; float32 by default, and the computation is in it at least.
        axis_name: Name of the axis that JAX maps over, in `pmap` or `shard_map`; see
            `kdl.ops.batch_total`. Defaults to None.

    Raises:
        ValueError: If `loss` reduces its values or is no function, `ratio` or `minimum_negatives`
            is negative or not finite, or `score` is unknown; when called, if the shapes do not fit;
            where values are known, if a label is neither a class nor `ignore_class`. How another
            `loss` numbers its classes is not known: there labels must be whole numbers, and
            negative ones `background_class` or `ignore_class`; all others count as positives. In
            compiled code a wrong label makes the loss NaN.

    Source: SSD (arXiv 1512.02325), section 2.2, "Hard negative mining".

    Example:
        >>> import numpy as np
        >>> logits = np.array([[[0, 2], [3, 0], [0, 1], [0, 0]]], "float32")
        >>> loss = HardNegativeMining(ratio=1, reduction="none")
        >>> [round(float(v), 4) for v in loss(np.array([[1, 0, 0, 0]]), logits)[0]]
        [0.1269, 0.0, 1.3133, 0.0]
    """

    elementwise = True
    renamed: ClassVar = {"background": "background_class", "normalize": "normalize_by_positives"}
    background = renamed_attribute("background", "background_class")
    normalize = renamed_attribute("normalize", "normalize_by_positives")

    @renamed_argument("background", "background_class")
    @renamed_argument("normalize", "normalize_by_positives")
    def __init__(
        self,
        loss: keras.losses.Loss | Callable | None = None,
        ratio: float = 3.0,
        background_class: int = 0,
        ignore_class: int | None = None,
        minimum_negatives: int = 0,
        score: str = "loss",
        normalize_by_positives: bool = True,
        name: str | None = "hard_negative_mining",
        reduction: str | None = "sum",
        dtype: DType = None,
        axis_name: str | None = None,
    ) -> None:
        _check_arguments(loss, ratio, minimum_negatives, score, background_class)
        super().__init__(hard_negative_mining, locals())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the loss inside serialized."""
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HardNegativeMining":
        """The loss of a config, with the loss inside."""
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**cls.arguments_of_today({**config, "loss": loss}))


def _check_arguments(loss, ratio, minimum_negatives, score, background_class):
    if loss is not None and not callable(loss):
        raise ValueError(f"loss must be a function or a Keras loss; received {loss!r}.")
    if getattr(loss, "reduction", None) not in (None, "none"):
        raise ValueError(
            f'loss must give one value an anchor: make it with reduction="none"; received '
            f"{type(loss).__name__} with reduction={loss.reduction!r}."
        )
    if not (0 <= ratio < float("inf") and 0 <= minimum_negatives < float("inf")):
        raise ValueError(
            f"ratio and minimum_negatives must not be negative or infinite; received "
            f"ratio={ratio}, minimum_negatives={minimum_negatives}."
        )
    check_choice("score", score, SCORES)
    if score == "background" and background_class < 0:
        raise ValueError(
            f'score="background" needs the score of the background, so background_class must be '
            f'one of the classes; received {background_class}. Pass score="loss".'
        )


def _targets(y_true, y_pred, loss, background_class, ignore_class, mask):
    """Labels for the loss of an anchor, background where nothing counts, and the masks."""
    scored_background = loss is None
    # Another loss may number its classes as it likes, but none with a negative number.
    classes = y_pred.shape[-1] if scored_background else None
    targets = as_targets(y_true, y_pred)
    if targets is not None:
        _check_shapes(targets["labels"], y_pred)
        anchors = from_targets(targets, classes, background_class, scored_background, mask)
        return anchors.labels, anchors
    y_true = ops.convert_to_tensor(y_true)
    if len(y_true.shape) == 3 and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    _check_shapes(y_true, y_pred)
    if len(y_true.shape) == 2:
        anchors = from_labels(
            y_true, classes, background_class, ignore_class, scored_background, mask
        )
        return anchors.labels, anchors
    valid = ops.any(y_true > 0, -1)
    valid = valid if mask is None else valid & mask
    anchors = from_labels(ops.argmax(y_true, -1), None, background_class, ignore_class, mask=valid)
    row = ops.one_hot(background_class, y_pred.shape[-1], dtype=y_true.dtype)
    return ops.where(ops.expand_dims(anchors.valid, -1), y_true, row), anchors


def _check_shapes(y_true, y_pred):
    rank = len(y_true.shape)
    if len(y_pred.shape) != 3 or not shapes_match(y_true.shape, y_pred.shape[: max(rank, 2)]):
        raise ValueError(
            f"y_true must be (batch, anchors) or (batch, anchors, classes) beside y_pred "
            f"(batch, anchors, classes); received {tuple(y_true.shape)} and "
            f"{tuple(y_pred.shape)}."
        )


def _loss_of_anchors(loss, targets, y_pred):
    if loss is None:
        return _softmax_crossentropy(targets, ops.cast(y_pred, "float32"))
    losses = ops.cast(loss(targets, y_pred), "float32")
    if len(losses.shape) != 2:
        raise ValueError(
            f"loss must give one value an anchor, (batch, anchors); it gave shape "
            f"{tuple(losses.shape)}."
        )
    return losses


def _softmax_crossentropy(targets, logits):
    if len(targets.shape) == 2 and keras.backend.backend() != "jax":
        # A wrong label, which NaN shows, ends a step on some backends.
        targets = ops.clip(ops.cast(targets, "int32"), 0, logits.shape[-1] - 1)
        return ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    if len(targets.shape) == 2:  # for which Keras multiplies, on JAX: 0 · ∞
        targets = one_hot(targets, logits.shape[-1], logits.dtype)
    targets = ops.cast(targets, logits.dtype)
    return cross_entropy(targets, ops.log_softmax(logits, axis=-1))


def _against_background(y_pred, background_class):
    """Cross-entropy against the background."""
    logits = ops.cast(y_pred, "float32")
    return ops.logsumexp(logits, axis=-1) - logits[..., background_class]


def _hardest(scores, eligible, counts):
    """Booleans: the anchors with the `counts` highest scores of their image among the eligible.

    A sort finds the lowest score that is in; of those equal to it, the first fill what is left.
    """
    scores = ops.where(ops.isnan(scores), float("inf"), ops.stop_gradient(scores))
    scores = ops.where(eligible, scores, -float("inf"))
    counts = ops.minimum(counts, ops.sum(ops.cast(eligible, "int32"), -1))
    counts = ops.expand_dims(counts, -1)
    falling = -ops.sort(-scores, axis=-1)
    lowest = ops.take_along_axis(falling, ops.maximum(counts - 1, 0), axis=-1)
    above = scores > lowest
    level = eligible & (scores == lowest)
    left = counts - ops.sum(ops.cast(above, "int32"), -1, keepdims=True)
    return above | (level & (ops.cumsum(ops.cast(level, "int32"), -1) <= left))
