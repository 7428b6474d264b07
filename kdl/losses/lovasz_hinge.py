"""Lovász hinge loss."""

import keras
from keras import ops

from kdl.losses._lovasz import lovasz_extension
from kdl.losses._segmentation import each_sample, truth_maps
from kdl.ops._known import refuse


@keras.saving.register_keras_serializable("kdl")
class LovaszHinge(keras.losses.Loss):
    """Piecewise linear loss of logits whose values at margins 1 are Jaccard distances.

    The errors are `e = 1 − z·(2y − 1)` with logits `z`, sorted from large to small, and the loss is
    `Σ max(e_k, 0)·(J_k − J_(k−1))`, where `J_k` is the Jaccard distance of the pixels with label 1
    if the first `k` pixels are wrong. The differences are constants for the gradient.

    Shapes: labels 0 and 1 and logits `(batch, …)`, each with or without a last axis of one entry.

    Args:
        per_image: Whether to sort each image alone. Defaults to True; False sorts all pixels of the
            batch together, whose loss each sample then carries.
        ignore_class: Label that is left out, such as 255 for void; None (default) for no such.
        reduction: As in `keras.losses`.
        name: Name of the loss.
        dtype: Dtype of the result; the computation is in float32.

    Raises:
        ValueError: If shapes do not fit, or (outside compiled steps) labels are other than 0, 1 and
            `ignore_class`.

    Source: The Lovász-Softmax loss (arXiv 1705.08790), section 3.1.

    Example:
        >>> import numpy as np
        >>> z = np.array([[2.0, 0.5, -0.4, -3.0]], "float32")
        >>> round(float(LovaszHinge()(np.array([[1, 1, 0, 0]]), z)), 4)
        0.3667
    """

    def __init__(
        self,
        per_image=True,
        ignore_class=None,
        reduction="sum_over_batch_size",
        name="lovasz_hinge",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.per_image = per_image
        self.ignore_class = ignore_class

    def call(self, y_true, y_pred):
        """One loss a sample."""
        return lovasz_hinge(y_true, y_pred, self.per_image, self.ignore_class)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "per_image": self.per_image,
            "ignore_class": self.ignore_class,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable("kdl")
def lovasz_hinge(y_true, y_pred, per_image=True, ignore_class=None):
    """Lovász hinge loss, `(batch,)`; `LovaszHinge` tells what it is.

    Args:
        y_true: Labels 0 and 1.
        y_pred: Logits.
        per_image: Whether to sort each image alone.
        ignore_class: Label that is left out.

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
    y, known = truth_maps(y_true, logits, False, ignore_class, axis=-1)
    refuse(
        ops.any(ops.logical_and(y != 0, y != 1)),
        "y_true must hold the labels 0 and 1; values between came.",
    )
    errors = ops.relu(1.0 - ops.cast(logits, "float32") * (2.0 * y - 1.0))
    errors = ops.where(known, errors, 0.0)
    rows = (ops.shape(logits)[0] if per_image else 1, -1)
    losses = lovasz_extension(ops.reshape(errors, rows), ops.reshape(y, rows))
    return each_sample(losses, logits)
