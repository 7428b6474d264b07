"""Loss of detectors over all positives and the hardest negatives."""

import keras
from keras import ops

from kdl.losses._masked_loss import MaskedLoss
from kdl.ops import batch_total
from kdl.ops._known import marked
from kdl.ops._labels import check_labels, cross_entropy, one_hot

SCORES = ("loss", "background")


@keras.saving.register_keras_serializable("kdl")
def hard_negative_mining(
    y_true,
    y_pred,
    loss=None,
    ratio=3.0,
    background=0,
    ignore_class=None,
    minimum_negatives=0,
    score="loss",
    normalize=True,
    axis_name=None,
    mask=None,
):
    """Loss of each anchor that counts, and 0 for the others.

    The arguments are those of `kdl.losses.HardNegativeMining`.

    Args:
        y_true: Labels `(batch, anchors)`, or rows of them `(batch, anchors, classes)`.
        y_pred: Predictions `(batch, anchors, classes)`.
        loss: The loss of an anchor; None for softmax cross-entropy of logits.
        ratio: How many negatives count for each positive of an image.
        background: Label of the negatives.
        ignore_class: Label of anchors that never count, or None.
        minimum_negatives: Least number of negatives of an image.
        score: What makes a negative hard, `"loss"` or `"background"`.
        normalize: Whether to divide by the number of positives in the batch.
        axis_name: Axis that JAX maps over.
        mask: Booleans `(batch, anchors)`, which anchors count, as Keras's masks; None for all.

    Returns:
        Tensor `(batch, anchors)`.

    Raises:
        ValueError: If an argument is out of range, or the shapes do not fit.
    """
    _check_arguments(loss, ratio, minimum_negatives, score, background)
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    if len(y_true.shape) == 3 and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    _check_shapes(y_true, y_pred)
    if mask is not None and len(y_true.shape) == 2:
        y_true = ops.where(mask, y_true, ops.cast(background, y_true.dtype))
    wrong = _check_labels(y_true, y_pred, loss, background, ignore_class)
    targets, labels, known = _targets(y_true, y_pred, background, ignore_class)
    known = known if mask is None else known & mask
    losses = _loss_of_anchors(loss, targets, y_pred)
    positive = known & (labels != background)
    negative = known & (labels == background)
    positives = ops.sum(ops.cast(positive, "int32"), -1)
    anchors = ops.cast(ops.shape(y_pred)[1], "float32")
    wanted = ops.floor(ops.minimum(ratio * ops.cast(positives, "float32"), anchors))
    wanted = ops.cast(wanted, "int32")
    hardness = losses if score == "loss" else _against_background(y_pred, background)
    hard = _hardest(hardness, negative, ops.maximum(wanted, minimum_negatives))
    # What is not a number shows: with a gradient that is none, a finite loss would hide it.
    counts = positive | hard | ops.isnan(losses)
    values = ops.where(counts if mask is None else counts & mask, losses, 0.0)
    if normalize:
        total = batch_total(ops.cast(ops.sum(positives), "float32"), axis_name)
        values = values / ops.maximum(total, 1.0)
    return marked(values, wrong)


@keras.saving.register_keras_serializable("kdl")
class HardNegativeMining(MaskedLoss):
    """Wraps the loss of an anchor: all positives count, and of the negatives only the hardest.

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

    Args:
        loss: A function `loss(y_true, y_pred)` or a Keras loss with `reduction="none"` that gives
            one value an anchor. Defaults to None: softmax cross-entropy of logits, for labels or
            rows.
        ratio: How many negatives count for each positive. Defaults to 3.
        background: Label of the negatives, and its place among the classes. Defaults to 0.
        ignore_class: Label of anchors that are neither positive nor negative. Defaults to None.
            Rows without a positive number are ignored always.
        minimum_negatives: Least number of negatives of an image, where there are so many. Defaults
            to 0.
        score: What makes a negative hard: `"loss"` (default), or `"background"` for
            `logsumexp(z) − z_background` of the predictions, whatever the loss.
        normalize: Whether to divide by the positives of the batch. Defaults to True.
        name: Name of the loss.
        reduction: Keras's reduction. Defaults to `"sum"`, which with `normalize` is the loss of
            SSD. Weights are `(batch,)`, or of each anchor.
        dtype: Dtype of the value; float32 by default, and the computation is in it at least.
        axis_name: Name of the axis that JAX maps over, in `pmap` or `shard_map`; see
            `kdl.ops.batch_total`. Defaults to None.

    Raises:
        ValueError: If `loss` reduces its values or is no function, `ratio` or `minimum_negatives`
            is negative or not finite, or `score` is unknown; when called, if the shapes do not fit;
            where values are known, if a label is neither a class nor `ignore_class`. How another
            `loss` numbers its classes is not known: there labels must be whole numbers, and
            negative ones `background` or `ignore_class`; all others count as positives. In compiled
            code a wrong label makes the loss NaN.

    Source: SSD (arXiv 1512.02325), section 2.2, "Hard negative mining".

    Example:
        >>> import numpy as np
        >>> logits = np.array([[[0, 2], [3, 0], [0, 1], [0, 0]]], "float32")
        >>> loss = HardNegativeMining(ratio=1, reduction="none")
        >>> [round(float(v), 4) for v in loss(np.array([[1, 0, 0, 0]]), logits)[0]]
        [0.1269, 0.0, 1.3133, 0.0]
    """

    elementwise = True

    def __init__(
        self,
        loss=None,
        ratio=3.0,
        background=0,
        ignore_class=None,
        minimum_negatives=0,
        score="loss",
        normalize=True,
        name="hard_negative_mining",
        reduction="sum",
        dtype=None,
        axis_name=None,
    ):
        _check_arguments(loss, ratio, minimum_negatives, score, background)
        super().__init__(hard_negative_mining, locals())

    def get_config(self):
        """The constructor's arguments, with the loss inside serialized."""
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config):
        """The loss of a config, with the loss inside."""
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


def _check_arguments(loss, ratio, minimum_negatives, score, background):
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
    if score not in SCORES:
        raise ValueError(f"score must be one of {SCORES}; received {score!r}.")
    if score == "background" and background < 0:
        raise ValueError(
            f'score="background" needs the score of the background, so background must be one of '
            f'the classes; received background={background}. Pass score="loss".'
        )


def _targets(y_true, y_pred, background, ignore_class):
    """Targets for the loss, where ignored anchors are background; labels; which are known."""
    if len(y_true.shape) == 2:
        labels = ops.cast(y_true, "int32")
        known = _is_known(labels, ignore_class)
        return ops.where(known, y_true, ops.cast(background, y_true.dtype)), labels, known
    labels = ops.cast(ops.argmax(y_true, -1), "int32")
    known = _is_known(labels, ignore_class) & ops.any(y_true > 0, -1)
    row = ops.one_hot(background, y_pred.shape[-1], dtype=y_true.dtype)
    return ops.where(ops.expand_dims(known, -1), y_true, row), labels, known


def _check_shapes(y_true, y_pred):
    pairs = zip(y_true.shape, y_pred.shape, strict=False)
    differ = any(a != b for a, b in pairs if None not in (a, b))
    if len(y_pred.shape) != 3 or len(y_true.shape) not in (2, 3) or differ:
        raise ValueError(
            f"y_true must be (batch, anchors) or (batch, anchors, classes) beside y_pred "
            f"(batch, anchors, classes); received {tuple(y_true.shape)} and "
            f"{tuple(y_pred.shape)}."
        )


def _check_labels(y_true, y_pred, loss, background, ignore_class):
    """Another loss may number its classes as it likes, but none with a negative number."""
    if len(y_true.shape) == 3:
        return None
    if loss is None:
        ignored = () if ignore_class is None else (ignore_class,)
        return check_labels(y_true, y_pred.shape[-1], ignored)
    others = {x for x in (background, ignore_class) if x is not None and x < 0}
    return check_labels(y_true, None, sorted(others))


def _is_known(labels, ignore_class):
    return ops.ones_like(labels, "bool") if ignore_class is None else labels != ignore_class


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
        # A wrong label, of which NaN tells, ends a step on some backends.
        targets = ops.clip(ops.cast(targets, "int32"), 0, logits.shape[-1] - 1)
        return ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    if len(targets.shape) == 2:  # for which Keras multiplies, on JAX: 0 · ∞
        targets = one_hot(targets, logits.shape[-1], logits.dtype)
    targets = ops.cast(targets, logits.dtype)
    return cross_entropy(targets, ops.log_softmax(logits, axis=-1))


def _against_background(y_pred, background):
    """Cross-entropy against the background."""
    logits = ops.cast(y_pred, "float32")
    return ops.logsumexp(logits, axis=-1) - logits[..., background]


def _hardest(scores, eligible, counts):
    """Which anchors have the `counts` highest scores of their image among the eligible.

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
