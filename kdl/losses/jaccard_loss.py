"""Soft Jaccard loss."""

from collections.abc import Sequence

import keras
from keras import ops

from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._masked_loss import MaskedLoss
from kdl.losses._segmentation import (
    checked_classes,
    class_maps,
    loss_of_each_sample,
    mean_over_classes,
    select_classes,
)
from kdl.ops import batch_total

# Sums below it are those of empty sets; their squares must stay within float32.
_EMPTY = 1e-12


@keras.saving.register_keras_serializable("kdl")
class JaccardLoss(MaskedLoss):
    """Soft Jaccard (intersection over union) loss for segmentation: one minus the index.

    With probabilities `p` and truth `y` of one class, `I = Σ p·y` and `U = Σ p + Σ y − I`, the loss
    of the class is `1 − (I + s) / (U + s)`; with `squared=True`, `U = Σ p² + Σ y² − I`. Where all
    `p` are 0 or 1, both are the Jaccard distance `1 − |A ∩ B| / |A ∪ B|` for `s = 0`. The loss is
    the mean over the classes.

    Sums over a batch, on all devices together, join small images to larger sets, and are noisy less
    often; sums over each image weigh all images alike. Where a class is neither there nor
    predicted, the loss is 0.

    Shapes: predictions `(batch, …, classes)`, or with the classes at `axis`; labels `(batch, …)`,
    `(batch, …, 1)`, or maps of zeros and ones (or anything between) of the shape of the
    predictions. One channel is the probability of label 1.

    Args:
        from_logits: Whether predictions are logits. Defaults to False: they are probabilities.
        multi_label: Whether a pixel may be of several classes, so that logits go through the
            sigmoid. Defaults to False: through the softmax. One channel has the sigmoid anyway.
        smoothing: `s`, a number not below 0. Defaults to 1. With 0, a class that is not there has
            loss 1 as soon as anything is predicted, and no gradient.
        squared: Whether the union has squares. Defaults to False.
        per_image: Whether to sum over each image. Defaults to False: over the batch, whose loss
            each sample then carries.
        classes: `"all"` (default); `"present"`, which leaves out the classes without a true pixel
            in the image or batch, so that what is wrongly taken for them counts for the others
            alone; or a list of the classes that count.
        ignore_class: Label, or entry of a map, that is left out, such as 255 for void; None
            (default) for no such.
        axis: Axis of the classes. Defaults to -1.
        reduction: As in `keras.losses`.
        name: Name of the loss.
        dtype: Dtype of the result; the computation is in float32.
        axis_name: Name of the axis that JAX maps over, in `pmap` or `shard_map`; see
            `kdl.ops.batch_total`. Defaults to None.

    Raises:
        ValueError: If `smoothing` is negative, `classes` is none of the above, shapes do not fit,
            or labels are out of range (masks of 0 and 255, say) or probabilities outside 0 … 1. In
            compiled steps, which raise no error, the loss is then NaN.

    Source: Rahman and Wang, Optimizing Intersection-Over-Union in Deep Neural Networks for Image
    Segmentation, ISVC 2016; the squares as in V-Net (arXiv 1606.04797), section 3.

    Example:
        >>> import numpy as np
        >>> p = np.array([[[0.9], [0.8], [0.3], [0.05]]], "float32")
        >>> loss = JaccardLoss(smoothing=0.0)
        >>> round(float(loss(np.array([[1, 1, 0, 0]]), p)), 4)
        0.2766
    """

    def __init__(
        self,
        from_logits: bool = False,
        multi_label: bool = False,
        smoothing: float = 1.0,
        squared: bool = False,
        per_image: bool = False,
        classes: str | Sequence[int] = "all",
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "jaccard_loss",
        dtype: DType = None,
        axis_name: str | None = None,
    ) -> None:
        _check_smoothing(smoothing)
        classes = checked_classes(classes)
        super().__init__(jaccard_loss, locals())


@keras.saving.register_keras_serializable("kdl")
def jaccard_loss(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    multi_label: bool = False,
    smoothing: float = 1.0,
    squared: bool = False,
    per_image: bool = False,
    classes: str | Sequence[int] = "all",
    ignore_class: int | None = None,
    axis: int = -1,
    axis_name: str | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Soft Jaccard loss, `(batch,)`; see `JaccardLoss`.

    Args:
        y_true: Labels or maps.
        y_pred: Probabilities or logits.
        from_logits: Whether `y_pred` holds logits.
        multi_label: Whether a pixel may be of several classes.
        smoothing: `s`.
        squared: Whether the union has squares.
        per_image: Whether to sum over each image.
        classes: `"all"`, `"present"` or a list.
        ignore_class: Label that is left out.
        axis: Axis of the classes.
        axis_name: Axis that JAX maps over.
        mask: Booleans `(batch, …)`, which pixels count, as Keras's masks; None for all.

    Returns:
        Float32 tensor `(batch,)`, of equal numbers unless `per_image`.

    Raises:
        ValueError: As `JaccardLoss`.

    Example:
        >>> import numpy as np
        >>> p = np.array([[[0.9], [0.8]], [[0.3], [0.0]]], "float32")
        >>> losses = jaccard_loss(np.array([[1, 1], [0, 0]]), p, per_image=True)
        >>> [round(float(loss), 3) for loss in losses]
        [0.1, 0.231]
    """
    _check_smoothing(smoothing)
    classes = checked_classes(classes)
    p, y, wrong = class_maps(y_true, y_pred, from_logits, multi_label, ignore_class, axis, mask)
    p, y = select_classes([p, y], classes, axis)
    rank = len(p.shape)
    summed = [i for i in range(1 if per_image else 0, rank) if i != axis % rank]

    def total(maps):
        maps = ops.sum(maps, summed) if summed else maps
        maps = ops.reshape(maps, (-1, p.shape[axis]))
        return maps if per_image else batch_total(maps, axis_name)

    common = total(p * y)
    # The union without the intersection; as a sum of its own it is never negative.
    apart = total(ops.square(p - y) if squared else p + y - 2.0 * p * y)
    union = common + apart + smoothing
    empty = union < _EMPTY
    losses = ops.where(empty, 0.0, apart / ops.where(empty, 1.0, union))
    present = total(y) > 0 if classes == "present" else None
    return loss_of_each_sample(mean_over_classes(losses, present), y_pred, wrong)


def _check_smoothing(smoothing):
    if not smoothing >= 0:
        raise ValueError(f"smoothing must not be negative; received {smoothing!r}.")
