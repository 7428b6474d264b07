"""Repulsion loss, a box regression for crowds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._deprecation import renamed_keys
from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._anchors import true_objects
from kdl.losses._function_loss import FunctionLoss
from kdl.ops._shapes import shapes_match
from kdl.ops.boxes import box_iog, box_iou, check_variances, decode_boxes, encode_boxes

_FULL = 1 - 1e-6  # −ln(1 − x) has no value at 1
_EPSILON = 1e-7


@keras.saving.register_keras_serializable("kdl")
def repulsion_loss(
    y_true: ArrayLike | dict[str, ArrayLike],
    y_pred: ArrayLike,
    alpha: float = 0.5,
    beta: float = 0.5,
    sigma_rep_gt: float = 0.9,
    sigma_rep_box: float = 0.0,
    positive_iou: float = 0.5,
    variances: Sequence[float] | None = None,
    max_positives: int | None = None,
) -> Tensor:
    """Repulsion loss of each image: attraction, RepGT and RepBox, weighted.

    Args:
        y_true: Ground truth, as for `kdl.losses.RepulsionLoss`, like all that follow.
        y_pred: Predictions.
        alpha: Weight of RepGT.
        beta: Weight of RepBox.
        sigma_rep_gt: Where the penalty of RepGT becomes linear.
        sigma_rep_box: Where that of RepBox does.
        positive_iou: Least overlap of a proposal with its target.
        variances: Variances of encoded predictions, or None if they are boxes.
        max_positives: How many positives of an image count, or None for all.

    Returns:
        Tensor `(batch,)`.

    Raises:
        ValueError: If an argument is out of range, or the shapes do not fit.
    """
    _check_weights(alpha, beta)
    terms = repulsion_terms(
        y_true, y_pred, sigma_rep_gt, sigma_rep_box, positive_iou, variances, max_positives
    )
    return terms["attraction"] + alpha * terms["rep_gt"] + beta * terms["rep_box"]


def repulsion_terms(
    y_true: ArrayLike | dict[str, ArrayLike],
    y_pred: ArrayLike,
    sigma_rep_gt: float = 0.9,
    sigma_rep_box: float = 0.0,
    positive_iou: float = 0.5,
    variances: Sequence[float] | None = None,
    max_positives: int | None = None,
) -> dict[str, Tensor]:
    """The three terms of the repulsion loss, for logs and other weightings.

    The arguments are those of `kdl.losses.RepulsionLoss`.

    Args:
        y_true: Ground truth.
        y_pred: Predictions.
        sigma_rep_gt: Where the penalty of RepGT becomes linear.
        sigma_rep_box: Where that of RepBox does.
        positive_iou: Least overlap of a proposal with its target.
        variances: Variances of encoded predictions, or None if they are boxes.
        max_positives: How many positives of an image count, or None for all.

    Returns:
        Dict of tensors `(batch,)`: `"attraction"`, `"rep_gt"`, `"rep_box"`.

    Raises:
        ValueError: If an argument is out of range, or the shapes do not fit.
    """
    _check_arguments(sigma_rep_gt, sigma_rep_box, positive_iou, variances, max_positives)
    truths, proposals, predictions = _unpack(y_true, y_pred)
    ious = ops.where(ops.expand_dims(truths.valid, 1), box_iou(proposals, truths.boxes), -1.0)
    positive = _positives(y_true, ious, positive_iou)
    if max_positives is not None:
        count = min(max_positives, proposals.shape[1] or max_positives)
        best = ops.top_k(ops.where(positive, ops.max(ious, -1), -1.0), count)[1]
        ious, proposals, predictions = (_rows(x, best) for x in (ious, proposals, predictions))
        positive = ops.take_along_axis(positive, best, axis=1)
    target = ops.cast(ops.argmax(ious, -1), "int32")
    divisor = ops.maximum(ops.sum(ops.cast(positive, "float32"), -1), 1.0)
    boxes = predictions if variances is None else decode_boxes(predictions, proposals, variances)
    goals = _rows(truths.boxes, target)
    if variances is not None:
        goals = encode_boxes(goals, proposals, variances)
    rep_gt = _rep_gt(boxes, truths, ious, target, sigma_rep_gt)
    return {
        "attraction": _sum_where(positive, _smooth_l1(predictions - goals)) / divisor,
        "rep_gt": _sum_where(positive, rep_gt) / divisor,
        "rep_box": _rep_box(boxes, positive, target, sigma_rep_box),
    }


@keras.saving.register_keras_serializable("kdl")
class RepulsionLoss(FunctionLoss):
    """Repulsion loss: box regression that attracts boxes to targets and repels neighbors.

    `L = L_attr + α · L_RepGT + β · L_RepBox` for each image, over its positives, the proposals `P`
    whose largest overlap with a ground truth is `positive_iou` or more. With `B` the predicted box
    of `P`, `G` that ground truth and `n` the number of positives:

    - `L_attr = Σ smoothL1(B − G) / n`, summed over the four coordinates;
    - `L_RepGT = Σ S(area(B ∩ G′) / area(G′)) / n`, where `G′` is, of the other ground truths of the
      class of `G`, the one that overlaps most with `P`; 0 where none does;
    - `L_RepBox = Σ S(IoU(B_i, B_j)) / (Σ [IoU(B_i, B_j) > 0] + 1e-7)` over all pairs of positives
      with different targets.

    `S(x) = −ln(1 − x)` up to `x = σ`, then straight on with slope `1 / (1 − σ)`; at `σ = 1` the
    overlap is cut at `1 − 1e-6`. Gradients flow through `B` alone. An image without positives
    gives 0. RepBox takes memory of the square of the proposals: `max_positives` limits it.

    Shapes: the ground truth is a dict of `"boxes"` `(batch, G, 4)`, `"labels"` `(batch, G)` and
    `"proposals"` `(batch, P, 4)` or `(P, 4)`, the predictions are `(batch, P, 4)`; boxes are xyxy.
    Rows with a negative label are padding and are not used, nor those that an optional `"ignore"`
    `(batch, G)` marks. The result is one value an image.

    A detector that matched proposals itself hands its masks `(batch, P)` on, as for
    `kdl.losses.FocalLoss`: the positives are then those of `"positive"` and (optional) `"valid"`,
    whatever their overlap. The target is the ground truth that overlaps most in any case.

    `compile` hands a model with one output no dicts. There, `y_true` is `(batch, G, 5)`, the box
    and then its class, and `y_pred` `(batch, P, 8)`, the proposal and then the prediction.

    Args:
        alpha: Weight of RepGT. Defaults to 0.5.
        beta: Weight of RepBox. Defaults to 0.5.
        sigma_rep_gt: `σ` of RepGT, from 0 to 1. Defaults to 0.9, which still pushes at full
            overlap; the paper found 1 best.
        sigma_rep_box: `σ` of RepBox, from 0 to 1. Defaults to 0, as in the paper.
        positive_iou: Least overlap of a positive. Defaults to 0.5.
        variances: None (default) if the predictions are boxes. Four numbers if they are offsets as
            of `kdl.ops.encode_boxes` with these variances: the attraction is then between offsets,
            and the rest between the decoded boxes.
        max_positives: How many positives of an image count, those of the largest overlap. Defaults
            to None: all.
        name: Name of the loss.
        reduction: Keras's reduction. Defaults to `"sum_over_batch_size"`.
        dtype: Dtype of the value; float32 by default, and the computation is in it.

    Raises:
        ValueError: If an argument is out of range; when called, if the shapes do not fit.

    Source: Repulsion Loss (arXiv 1711.07752), section 4. The paper draws the pairs of RepBox at
    random; all of them give the mean of that.

    Example:
        >>> import numpy as np
        >>> truth = {
        ...     "boxes": np.array([[[0, 0, 10, 20], [6, 0, 16, 20]]], "float32"),
        ...     "labels": np.array([[0, 0]]),
        ...     "proposals": np.array([[1, 0, 11, 20]], "float32"),
        ... }
        >>> predictions = np.array([[[1, 0, 11, 20]]], "float32")
        >>> round(float(RepulsionLoss()(truth, predictions)), 4)  # 1 + ½ · ln 2
        1.3466
    """

    compares = "scenes"  # boxes beside all truths, which detectors hand over

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        sigma_rep_gt: float = 0.9,
        sigma_rep_box: float = 0.0,
        positive_iou: float = 0.5,
        variances: Sequence[float] | None = None,
        max_positives: int | None = None,
        name: str | None = "repulsion_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: DType = None,
    ) -> None:
        _check_weights(alpha, beta)
        _check_arguments(sigma_rep_gt, sigma_rep_box, positive_iou, variances, max_positives)
        variances = None if variances is None else [float(v) for v in variances]
        super().__init__(repulsion_loss, locals())


def _check_weights(alpha, beta):
    if not all(0 <= weight < float("inf") for weight in (alpha, beta)):
        raise ValueError(
            f"alpha and beta must not be negative or infinite; received alpha={alpha}, beta={beta}."
        )


def _check_arguments(sigma_rep_gt, sigma_rep_box, positive_iou, variances, max_positives):
    for name, sigma in (("sigma_rep_gt", sigma_rep_gt), ("sigma_rep_box", sigma_rep_box)):
        if not 0 <= sigma <= 1:
            raise ValueError(f"{name} must be from 0 to 1; received {sigma}.")
    if not 0 < positive_iou <= 1:
        raise ValueError(f"positive_iou must be above 0, up to 1; received {positive_iou}.")
    if variances is not None:
        check_variances(variances)
    if max_positives is not None:
        check_integer("max_positives", max_positives)


class _Truths(NamedTuple):
    """Ground truth: boxes `(batch, G, 4)`, class numbers, and which rows are objects."""

    boxes: Any
    labels: Any
    valid: Any


def _unpack(y_true, y_pred):
    """Ground truth, proposals and predictions, from either form."""
    y_pred = ops.cast(y_pred, "float32")
    truths = _truths(y_true)
    if len(y_pred.shape) != 3:
        raise ValueError(
            f"Expected y_pred (batch, P, 4), or (batch, P, 8) with the proposals first; received "
            f"shape {tuple(y_pred.shape)}."
        )
    if y_pred.shape[-1] == 8:
        proposals, y_pred = ops.stop_gradient(y_pred[..., :4]), y_pred[..., 4:]
    elif isinstance(y_true, dict) and "proposals" in y_true:
        proposals = ops.cast(y_true["proposals"], "float32")
    else:
        raise ValueError(
            f'Expected proposals, as y_true["proposals"] or in the first four of eight columns of '
            f"y_pred; received y_pred of shape {tuple(y_pred.shape)} and none."
        )
    _check_shapes(truths, proposals, y_pred)
    if truths.boxes.shape[1] == 0:  # an argmax needs something
        labels = ops.pad(truths.labels, ((0, 0), (0, 1)))
        boxes = ops.pad(truths.boxes, ((0, 0), (0, 1), (0, 0)))
        truths = _Truths(boxes, labels, ops.zeros_like(labels, "bool"))
    return truths, ops.broadcast_to(proposals, ops.shape(y_pred)), y_pred


def _truths(y_true):
    if not isinstance(y_true, dict):
        y_true = ops.cast(y_true, "float32")
        if len(y_true.shape) != 3 or y_true.shape[-1] != 5:
            raise ValueError(
                f"Expected y_true (batch, G, 5), the boxes and their classes, or a dict; received "
                f"shape {tuple(y_true.shape)}."
            )
        boxes, labels = y_true[..., :4], ops.cast(y_true[..., 4], "int32")
        return _Truths(boxes, labels, true_objects(labels))
    y_true = renamed_keys(y_true, {"classes": "labels"})
    if not {"boxes", "labels"} <= y_true.keys():
        raise ValueError(
            f"Expected y_true with the keys 'boxes' and 'labels', and 'proposals' unless y_pred "
            f"holds them; received {sorted(map(str, y_true))}."
        )
    labels = ops.cast(y_true["labels"], "int32")
    valid = true_objects(labels, y_true.get("ignore"))
    return _Truths(ops.cast(y_true["boxes"], "float32"), labels, valid)


def _check_shapes(truths, proposals, predictions):
    rows = (predictions.shape[0], truths.boxes.shape[1])
    fits = (
        shapes_match(truths.boxes.shape, (*rows, 4))
        and shapes_match(truths.labels.shape, rows)
        and shapes_match(predictions.shape, (None, None, 4))
        and shapes_match(proposals.shape[-2:], predictions.shape[1:])
        and len(proposals.shape) in (2, 3)
    )
    if not fits:
        raise ValueError(
            f"Expected y_true with boxes (batch, G, 4), labels (batch, G) and proposals "
            f"(batch, P, 4) or (P, 4), and y_pred (batch, P, 4); received "
            f"{tuple(truths.boxes.shape)}, {tuple(truths.labels.shape)}, {tuple(proposals.shape)} "
            f"and {tuple(predictions.shape)}."
        )


def _positives(y_true, ious, positive_iou):
    """Proposals that count: those of the targets, or of enough overlap."""
    best = ops.max(ious, -1)
    if not isinstance(y_true, dict) or "positive" not in y_true:
        return best >= positive_iou
    # Nothing draws a box where no ground truth is.
    positive = ops.cast(y_true["positive"], "bool") & (best >= 0)
    return positive & ops.cast(y_true.get("valid", True), "bool")


def _rows(values, index):
    """The rows `index` `(batch, K)` of `values` `(batch, N, D)`."""
    return ops.take_along_axis(values, ops.expand_dims(index, -1), axis=1)


def _sum_where(mask, values):
    return ops.sum(ops.where(mask, values, 0.0), -1)


def _smooth_l1(differences):
    """Half the square up to 1, then straight on; summed over the coordinates."""
    size = ops.abs(differences)
    small = ops.minimum(size, 1.0)
    return ops.sum(0.5 * small * small + size - small, -1)


def _rep_gt(boxes, truths, ious, target, sigma):
    """Penalty of each box for what it covers of the ground truth next to its own."""
    own_label = ops.take_along_axis(truths.labels, target, axis=1)
    other = ops.arange(ops.shape(ious)[-1], dtype="int32") != ops.expand_dims(target, -1)
    rival = other & (ops.expand_dims(truths.labels, 1) == ops.expand_dims(own_label, -1))
    overlaps = ops.where(rival, ious, -1.0)
    rivals = _rows(truths.boxes, ops.argmax(overlaps, -1))
    covered = box_iog(ops.expand_dims(boxes, 2), ops.expand_dims(rivals, 2))[..., 0, 0]
    return smooth_ln(ops.where(ops.max(overlaps, -1) > 0, covered, 0.0), sigma)


def _rep_box(boxes, positive, target, sigma):
    """Mean penalty of the pairs of boxes that overlap and have different targets."""
    apart = ops.expand_dims(target, 1) != ops.expand_dims(target, 2)
    pairs = apart & ops.expand_dims(positive, 1) & ops.expand_dims(positive, 2)
    overlaps = ops.where(pairs, box_iou(boxes, boxes), 0.0)
    count = ops.sum(ops.cast(overlaps > 0, "float32"), (1, 2))
    return ops.sum(smooth_ln(overlaps, sigma), (1, 2)) / (count + _EPSILON)


def smooth_ln(x: Tensor, sigma: float) -> Tensor:
    """`−ln(1 − x)` up to `sigma`, then straight on; `x` from 0 to 1."""
    if sigma == 1:
        return -ops.log1p(-ops.minimum(x, _FULL))
    knee = -ops.log1p(ops.convert_to_tensor(-sigma, x.dtype))
    curved = -ops.log1p(-ops.minimum(x, sigma))
    return ops.where(x <= sigma, curved, knee + (x - sigma) / (1 - sigma))
