"""Lovász-softmax loss."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._lovasz import gathered_pixels, lovasz_extension
from kdl.losses._masked_loss import MaskedLoss
from kdl.losses._segmentation import (
    check_zeros_and_ones,
    checked_classes,
    class_maps,
    loss_of_each_sample,
    mean_over_classes,
    select_classes,
)


@keras.saving.register_keras_serializable("kdl")
class LovaszSoftmax(MaskedLoss):
    """Lovász-softmax loss: a surrogate of the Jaccard distance for segmentation.

    It is piecewise linear, and at hard predictions it is the Jaccard distance.

    For each class the errors are `e = |y − p|`, sorted from large to small, and the loss is
    `Σ e_k·(J_k − J_(k−1))`, where `J_k` is the Jaccard distance `1 − |A ∩ B| / |A ∪ B|` if the
    first `k` pixels are wrong. The differences are constants for the gradient. The loss is the mean
    over the classes.

    Shapes: predictions `(batch, …, classes)`, or with the classes at `axis`; labels `(batch, …)`,
    `(batch, …, 1)`, or maps of zeros and ones of the shape of the predictions. One channel is the
    probability of label 1.

    Args:
        from_logits: Whether predictions are logits, which go through the softmax, or the sigmoid
            where there is one channel. Defaults to False: they are probabilities.
        classes: `"present"` (default): the classes that have a true pixel in the batch or image;
            `"all"`; or a list of the classes that count. Without any true pixel the loss of a
            class is its largest error.
        per_image: Whether to sort each image alone. Defaults to False: all pixels of the batch, on
            all devices, together, whose loss each sample then carries.
        ignore_class: Label, or entry of a map, that is left out, such as 255 for void; None
            (default) for no such.
        axis: Axis of the classes. Defaults to -1.
        reduction: As in `keras.losses`.
        name: Name of the loss.
        dtype: Dtype of the result; the computation is in float32.
        axis_name: Name of the axis that JAX maps over, in `pmap` or `shard_map`; see
            `kdl.ops.batch_total`. Defaults to None.

    Raises:
        ValueError: If `classes` is none of the above, shapes do not fit, labels are out of range,
            maps hold other than 0 and 1, or probabilities lie outside 0 … 1. In compiled steps,
            which raise no error, what is wrong in values makes the loss NaN.

    Source: The Lovász-Softmax loss (arXiv 1705.08790), section 3.

    Example:
        >>> import numpy as np
        >>> p = np.array([[[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]])
        >>> round(float(LovaszSoftmax()(np.array([[0, 0, 2, 2]]), p)), 4)
        0.55
    """

    def __init__(
        self,
        from_logits: bool = False,
        classes: str | Sequence[int] = "present",
        per_image: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "lovasz_softmax",
        dtype: DType = None,
        axis_name: str | None = None,
    ) -> None:
        classes = checked_classes(classes)
        super().__init__(lovasz_softmax, locals())


@keras.saving.register_keras_serializable("kdl")
def lovasz_softmax(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    from_logits: bool = False,
    classes: str | Sequence[int] = "present",
    per_image: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    axis_name: str | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Lovász-softmax loss, `(batch,)`; see `LovaszSoftmax`.

    Args:
        y_true: Labels or maps.
        y_pred: Probabilities or logits.
        from_logits: Whether `y_pred` holds logits.
        classes: `"present"`, `"all"` or a list.
        per_image: Whether to sort each image alone.
        ignore_class: Label that is left out.
        axis: Axis of the classes.
        axis_name: Axis that JAX maps over.
        mask: Booleans `(batch, …)`, which pixels count, as Keras's masks; None for all.

    Returns:
        Float32 tensor `(batch,)`, of equal numbers unless `per_image`.

    Raises:
        ValueError: As `LovaszSoftmax`.

    Example:
        >>> import numpy as np
        >>> p = np.array([[[0.9], [0.8], [0.3], [0.05]]], "float32")
        >>> [round(float(loss), 4) for loss in lovasz_softmax(np.array([[1, 1, 0, 0]]), p)]
        [0.2]
    """
    classes = checked_classes(classes)
    p, y, wrong = class_maps(y_true, y_pred, from_logits, False, ignore_class, axis, mask)
    wrong.append(check_zeros_and_ones(y))
    p, y = (_pixels_last(maps, axis, per_image) for maps in select_classes([p, y], classes, axis))
    errors = ops.abs(y - p)
    if not per_image:
        errors, y = gathered_pixels(errors, y, axis_name)
    losses = lovasz_extension(errors, y)
    present = ops.any(y > 0, -1) if classes == "present" else None
    return loss_of_each_sample(mean_over_classes(losses, present), y_pred, wrong)


def _pixels_last(maps, axis, per_image):
    """`(rows, classes, pixels)`, a row for each image or one for all."""
    axis %= len(maps.shape)
    channels, others = maps.shape[axis], [i for i in range(1, len(maps.shape)) if i != axis]
    # Written out: of an empty batch no size can be inferred.
    shape = ops.shape(maps)
    images, pixels = shape[0], math.prod(shape[i] for i in others)
    if per_image:
        return ops.reshape(ops.transpose(maps, (0, axis, *others)), (images, channels, pixels))
    maps = ops.transpose(maps, (axis, 0, *others))
    return ops.reshape(maps, (1, channels, images * pixels))
