"""Triplet loss with triplet mining in the batch."""

import keras
from keras import ops

from kdl._checks import check_choice
from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._function_loss import FunctionLoss
from kdl.ops import batch_gather, has_replicas, pairwise_distances
from kdl.ops import triplets as mined
from kdl.ops._concrete import marked
from kdl.ops._embeddings import check_embeddings, checked_labels, is_margin
from kdl.ops._jax import as_one
from kdl.ops.distances import METRICS, paired_distances, unit_rows

_MINING = ("batch_hard", "batch_all", "semi_hard")
_CONVENTIONS = (
    "kdl",
    "tensorflow_addons",
    "tensorflow_similarity",
    "pytorch_metric_learning",
)


@keras.saving.register_keras_serializable("kdl")
class TripletLoss(FunctionLoss):
    """Triplet loss with mining in the batch: batch-hard, batch-all or semi-hard.

    It draws samples of one class nearer to each other than to those of other classes. With the
    distance `D`, an anchor `a`, a positive `p` of its class and a negative `n` of another
    one, a triplet costs `[m + D(a, p) − D(a, n)]₊`, or `ln(1 + exp(D(a, p) − D(a, n)))` with a soft
    margin. `mining` says which triplets of the batch count:

    - `"batch_hard"`: one for each anchor, its farthest positive and its nearest negative
    - `"batch_all"`: all of them
    - `"semi_hard"`: one for each pair of anchor and positive, with the nearest negative that is
      farther than the positive, or else the farthest negative

    Every batch must hold several samples of several classes, such as `kdl.data.PKSampler` draws. On
    many devices triplets are those of the whole batch: each device gathers the embeddings of all.

    What libraries do differently, by `convention`:

    | | `"kdl"` | `"tensorflow_addons"` | `"tensorflow_similarity"` | `"pytorch_metric_learning"` |
    | --- | --- | --- | --- | --- |
    | embeddings | as they are | as they are | as they are | divided by their norms |
    | mean over | triplets | triplets | triplets | triplets whose loss is not 0 |
    | `"semi_hard"` takes | see above | see above | for each anchor the farthest positive and the \
    semi-hard negative of it | all negatives with `D(a, p) < D(a, n) ≤ D(a, p) + m` |
    | anchor without a positive | left out | `D(a, p) = 0` with `"batch_hard"` | `D(a, p) = 0` but \
    for `"batch_all"` | left out |
    | anchor without a negative | left out | the farthest sample, or distance 0 with `"semi_hard"` \
    | the same | left out |

    Their other defaults are arguments here: TensorFlow Addons has `margin=1.0`; TensorFlow
    Similarity `margin="soft"`, `distance="cosine"`, `mining="semi_hard"`; PyTorch Metric Learning
    `margin=0.05` for the loss and 0.2 for mining (here they are one), `mining="batch_all"`. In the
    last one, `smooth_loss=True` keeps its margin inside: `margin="soft"` is that with a margin
    of 0.

    The loss of an anchor is the sum of its triplets, times `B` over the number of triplets that
    count in the batch. So the mean over the batch, which Keras takes, is the mean over triplets; 0
    where there are none. Computed in float32. At equal embeddings value and gradient are finite.

    Memory is `O(B²)` with every `mining`. The time of `"batch_hard"` is that of the distances, the
    others add `O(B²)` for each member of the largest class. Only on PyTorch, where a search in
    sorted distances is quicker, `"batch_all"` and `"semi_hard"` of PyTorch Metric Learning add
    `O(B² log B)` whatever the classes, with a number as margin. Gradients are of first order.

    Shapes: labels `(B,)` or `(B, 1)`, embeddings `(B, D)` → `(B,)`.

    Args:
        mining: `"batch_hard"` (default), `"batch_all"` or `"semi_hard"`.
        margin: `m`, a number that is not negative, or `"soft"` (default).
        distance: `"l2"` (default), `"squared_l2"` or `"cosine"`, see `kdl.ops.pairwise_distances`.
        nonzero_mean: Whether the mean is over triplets whose loss is not 0. None (default) follows
            `convention`. With a soft margin no loss is 0.
        normalize: Whether embeddings are divided by their norms first. None (default) follows
            `convention`.
        convention: A column of the table above. Defaults to `"kdl"`.
        name: Name of the loss.
        reduction: As in `keras.losses.Loss`; `"sum"` gives `B` times the mean.
        dtype: As in `keras.losses.Loss`.
        axis_name: Name of the axis that JAX maps over, in `pmap` or `shard_map`; see
            `kdl.ops.batch_total`. Defaults to None.

    Raises:
        ValueError: If an argument is none of these, or `nonzero_mean=True` or the semi-hard mining
            of PyTorch Metric Learning meets a soft margin. When called: if the shapes are others;
            where values are known, also if labels are no integers (or of 2²⁴ and above: Keras
            hands them on as float32), or embeddings are NaN or too large to be squared. In
            compiled steps the loss is then NaN. But on JAX, whose integers have 32 bits, `fit`
            cuts larger ones before a loss sees them: number such classes anew, by
            `np.unique(labels, return_inverse=True)`.

    Source: FaceNet (arXiv 1503.03832), section 3; In Defense of the Triplet Loss (arXiv
    1703.07737), section 2.

    Example:
        >>> import numpy as np
        >>> embeddings = np.array([[0, 0], [1, 0], [0, 2], [3, 0], [3, 1], [2, 2]], "float32")
        >>> loss = TripletLoss(mining="batch_all", margin=1.0)
        >>> round(float(loss(np.array([0, 0, 0, 1, 1, 1]), embeddings)), 4)
        0.2946
    """

    def __init__(
        self,
        mining: str = "batch_hard",
        margin: float | str = "soft",
        distance: str = "l2",
        nonzero_mean: bool | None = None,
        normalize: bool | None = None,
        convention: str = "kdl",
        name: str | None = "triplet_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: DType = None,
        axis_name: str | None = None,
    ) -> None:
        _check_arguments(mining, margin, distance, nonzero_mean, convention)
        margin = margin if margin == "soft" else float(margin)
        super().__init__(triplet_loss, locals())


@keras.saving.register_keras_serializable("kdl")
def triplet_loss(
    labels: ArrayLike,
    embeddings: ArrayLike,
    mining: str = "batch_hard",
    margin: float | str = "soft",
    distance: str = "l2",
    nonzero_mean: bool | None = None,
    normalize: bool | None = None,
    convention: str = "kdl",
    axis_name: str | None = None,
) -> Tensor:
    """The triplet loss of each anchor, without reduction; see `TripletLoss`.

    Args:
        labels: Integer tensor `(B,)` or `(B, 1)`.
        embeddings: Float tensor `(B, D)`.
        mining: As of `TripletLoss`.
        margin: As of `TripletLoss`.
        distance: As of `TripletLoss`.
        nonzero_mean: As of `TripletLoss`.
        normalize: As of `TripletLoss`.
        convention: As of `TripletLoss`.
        axis_name: As of `TripletLoss`.

    Returns:
        Float32 tensor `(B,)`, whose mean is the mean over the triplets that count.

    Raises:
        ValueError: As `TripletLoss` does.

    Example:
        >>> import numpy as np
        >>> embeddings = np.array([[0.0], [1.0], [3.0], [3.5]])
        >>> [round(float(x), 2) for x in triplet_loss(np.array([0, 0, 1, 1]), embeddings, margin=2)]
        [0.0, 1.0, 0.5, 0.0]
    """
    _check_arguments(mining, margin, distance, nonzero_mean, convention)
    of_torch = convention == "pytorch_metric_learning"
    if normalize is None:
        normalize = of_torch
    if nonzero_mean is None:
        nonzero_mean = of_torch and margin != "soft"
    embeddings = ops.convert_to_tensor(embeddings)
    labels, wrong = checked_labels(labels, embeddings)
    embeddings = ops.cast(embeddings, "float32")
    check_embeddings(embeddings)
    own = ops.shape(embeddings)[0]
    embeddings, first = batch_gather(embeddings, axis_name)
    losses = as_one(
        _losses,
        (batch_gather(labels, axis_name)[0], embeddings),
        *(mining, margin, distance, bool(nonzero_mean), bool(normalize), convention),
    )
    losses = ops.slice(losses, (first,), (own,)) if has_replicas(axis_name) else losses
    return marked(losses, wrong)


def _losses(labels, embeddings, mining, margin, distance, nonzero_mean, normalize, convention):
    if normalize:
        embeddings = unit_rows(embeddings)
    one_each = mining == "semi_hard" and convention == "tensorflow_similarity"
    if mining == "batch_hard" or one_each:
        outcome = _one_of_each_anchor(labels, embeddings, mining, margin, distance, convention)
    else:
        outcome = _many_of_each_anchor(labels, embeddings, mining, margin, distance, convention)
    sums, triplets, nonzero = outcome
    count = ops.maximum(ops.sum(nonzero if nonzero_mean else triplets), 1.0)
    return sums * (ops.cast(ops.shape(labels)[0], "float32") / count)


def _one_of_each_anchor(labels, embeddings, mining, margin, distance, convention):
    """Losses of the anchors; 1 for each that has a triplet; 1 for each whose loss is not 0.

    Only the mining needs all distances. Those that count are computed anew from their embeddings,
    to all digits, and the gradient needs no `(B, B)` matrix.
    """
    positive, negative = mined.triplet_masks(labels)
    ranking = "squared_l2" if distance == "l2" else distance
    distances = pairwise_distances(ops.stop_gradient(embeddings), ranking)
    itself = ops.arange(ops.shape(labels)[0])
    positives = mined.hardest_positives(distances, positive, itself)
    if mining == "batch_hard":
        otherwise = ops.argmax(distances, axis=1) if _is_total(convention) else itself
        negatives = mined.hardest_negatives(distances, negative, otherwise)
    else:
        near = ops.take_along_axis(distances, positives[:, None], axis=1)[:, 0]
        negatives = mined.semi_hard_negatives(distances, negative, near, itself)
    near = paired_distances(embeddings, ops.take(embeddings, positives, axis=0), distance)
    far = paired_distances(embeddings, ops.take(embeddings, negatives, axis=0), distance)
    losses, _ = mined.violation(margin)(near - far)
    valid = ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))
    if _is_total(convention):
        valid = ops.ones_like(valid)
    losses = ops.where(valid, losses, 0.0)
    return losses, ops.cast(valid, "float32"), ops.cast(losses > 0, "float32")


def _many_of_each_anchor(labels, embeddings, mining, margin, distance, convention):
    """Sums of the losses of each anchor, its number of triplets, and of those that are not 0."""
    positive, negative = mined.triplet_masks(labels)
    distances = pairwise_distances(embeddings, distance)
    positives, negatives = (
        ops.sum(ops.cast(mask, "float32"), axis=1) for mask in (positive, negative)
    )
    every = mining == "batch_all" or convention == "pytorch_metric_learning"
    if every and margin != "soft":
        bounded = mining == "semi_hard"
        sums, nonzero = mined.sum_of_hinges(distances, labels, negative, margin, bounded)
        return sums, positives * negatives, nonzero
    constant = ops.stop_gradient(distances)
    loss = mined.violation(margin)
    if every:
        compare = mined.sum_over_negatives(constant, negative, loss)
        anchors, triplets = negatives > 0, positives * negatives
    else:
        itself = ops.arange(ops.shape(labels)[0])
        compare = mined.take_semi_hard(constant, negative, loss, itself)
        anchors = ops.logical_or(negatives > 0, convention == "tensorflow_addons")
        triplets = ops.where(anchors, positives, 0.0)
    sums, nonzero = mined.sum_over_positives(distances, labels, anchors, compare)
    return sums, triplets, nonzero


def _is_total(convention):
    """Tell whether anchors without a positive or a negative count."""
    return convention in ("tensorflow_addons", "tensorflow_similarity")


def _check_arguments(mining, margin, distance, nonzero_mean, convention):
    check_choice("mining", mining, _MINING)
    check_choice("distance", distance, METRICS)
    check_choice("convention", convention, _CONVENTIONS)
    soft = margin == "soft"
    if not (soft or is_margin(margin)):
        raise ValueError(
            f"margin must be a number that is not negative, or 'soft'; received {margin!r}."
        )
    if soft and nonzero_mean:
        raise ValueError(
            "nonzero_mean=True needs a number as margin: with margin='soft' no loss is 0."
        )
    if soft and mining == "semi_hard" and convention == "pytorch_metric_learning":
        raise ValueError(
            "The semi-hard negatives of PyTorch Metric Learning lie within the margin: give a "
            "number as margin, or another convention; received margin='soft'."
        )
