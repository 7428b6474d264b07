"""Lovász hinge loss."""

import math

import keras
from keras import ops

from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._lovasz import gathered_pixels, lovasz_extension
from kdl.losses._masked_loss import MaskedLoss
from kdl.losses._segmentation import check_zeros_and_ones, loss_of_each_sample, truth_maps


@keras.saving.register_keras_serializable("kdl")
class LovaszHinge(MaskedLoss):
    """Lovász hinge loss: a surrogate of the Jaccard distance for binary segmentation.

    It is piecewise linear in the logits, and at margins 1 it is the Jaccard distance.

    The errors are `e = 1 − z·(2y − 1)` with logits `z`, sorted from large to small, and the loss is
    `Σ max(e_k, 0)·(J_k − J_(k−1))`, where `J_k` is the Jaccard distance of the pixels with label 1
    if the first `k` pixels are wrong. The differences are constants for the gradient.

    Shapes: labels 0 and 1 and logits `(batch, …)`, each with or without a last axis of one entry.

    Args:
        per_image: Whether to sort each image alone. Defaults to True; False sorts all pixels of the
            batch, on all devices, together, whose loss each sample then carries.
        ignore_class: Label that is left out, such as 255 for void; None (default) for no such.
        reduction: As in `keras.losses`.
        name: Name of the loss.
        dtype: Dtype of the result; the computation is in float32.
        axis_name: Name of the axis that JAX maps over, in `pmap` or `shard_map`; see
            `kdl.ops.batch_total`. Defaults to None.

    Raises:
        ValueError: If shapes do not fit, or labels are other than 0, 1 and `ignore_class`. In
            compiled steps, which raise no error, the loss is then NaN.

    Source: The Lovász-Softmax loss (arXiv 1705.08790), section 3.1.

    Example:
        >>> import numpy as np
        >>> z = np.array([[2.0, 0.5, -0.4, -3.0]], "float32")
        >>> round(float(LovaszHinge()(np.array([[1, 1, 0, 0]]), z)), 4)
        0.3667
    """

    def __init__(
        self,
        per_image: bool = True,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "lovasz_hinge",
        dtype: DType = None,
        axis_name: str | None = None,
    ) -> None:
        super().__init__(lovasz_hinge, locals())


@keras.saving.register_keras_serializable("kdl")
def lovasz_hinge(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    per_image: bool = True,
    ignore_class: int | None = None,
    axis_name: str | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Lovász hinge loss, `(batch,)`; see `LovaszHinge`.

    Args:
        y_true: Labels 0 and 1.
        y_pred: Logits.
        per_image: Whether to sort each image alone.
        ignore_class: Label that is left out.
        axis_name: Axis that JAX maps over.
        mask: Booleans `(batch, …)`, which pixels count, as Keras's masks; None for all.

    Returns:
        Float32 tensor `(batch,)`, of equal numbers unless `per_image`.

    Raises:
        ValueError: As `LovaszHinge`.

    Example:
        >>> import numpy as np
        >>> [float(loss) for loss in lovasz_hinge(np.array([[1, 0]]), np.array([[0.0, -2.0]]))]
        [1.0]
    """
    y_true, logits = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    if len(logits.shape) < 2 or logits.shape[-1] != 1:
        logits = ops.expand_dims(logits, -1)
    y, valid, wrong = truth_maps(y_true, logits, False, ignore_class, -1, mask)
    wrong = [wrong, check_zeros_and_ones(y)]
    errors = ops.relu(1.0 - ops.cast(logits, "float32") * (2.0 * y - 1.0))
    errors = ops.where(valid, errors, 0.0)
    images, *others = ops.shape(logits)
    # Written out: of an empty batch no size can be inferred.
    rows = (images, math.prod(others)) if per_image else (1, images * math.prod(others))
    errors, y = ops.reshape(errors, rows), ops.reshape(y, rows)
    if not per_image:
        errors, y = gathered_pixels(errors, y, axis_name)
    losses = lovasz_extension(errors, y)
    return loss_of_each_sample(losses, logits, wrong)
