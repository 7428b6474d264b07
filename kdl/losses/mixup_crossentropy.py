"""Mixup cross-entropy, of two labels and their shares."""

import keras
from keras import ops

from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._masked_loss import MaskedLoss
from kdl.losses.label_smoothing_crossentropy import (
    check_smoothing,
    label_smoothing_crossentropy,
)
from kdl.ops._concrete import marked
from kdl.ops._labels import as_float, mixed_labels, one_hot


@keras.saving.register_keras_serializable("kdl")
def mixup_crossentropy(
    y_true: ArrayLike, y_pred: ArrayLike, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Mixup cross-entropy of each sample; see `MixupCrossentropy`.

    Args:
        y_true: Two class numbers and the share of the first, `(…, 3)`.
        y_pred: Logits or probabilities `(…, K)`.
        from_logits: Whether `y_pred` are logits.
        label_smoothing: As in `MixupCrossentropy`.

    Returns:
        Tensor `(…,)`, float32.

    Raises:
        ValueError: As `MixupCrossentropy`.

    Example:
        >>> losses = mixup_crossentropy([[0, 2, 0.75]], [[0.5, 0.25, 0.25]])
        >>> [round(float(loss), 4) for loss in losses]  # 0.75 · ln 2 + 0.25 · ln 4
        [0.8664]
    """
    y_pred = as_float(y_pred)
    first, second, share, wrong = mixed_labels(as_float(y_true), y_pred)
    share = ops.expand_dims(ops.cast(share, y_pred.dtype), -1)
    classes = y_pred.shape[-1]
    first, second = (one_hot(labels, classes, y_pred.dtype) for labels in (first, second))
    targets = share * first + (1.0 - share) * second
    losses = label_smoothing_crossentropy(
        targets, y_pred, label_smoothing=label_smoothing, from_logits=from_logits
    )
    return marked(losses, *wrong)


@keras.saving.register_keras_serializable("kdl")
class MixupCrossentropy(MaskedLoss):
    """Mixup cross-entropy, of samples mixed of two: `λ · CE(y_a, p) + (1 − λ) · CE(y_b, p)`.

    It is cross-entropy with the dense label `λ · y_a + (1 − λ) · y_b`, but takes the labels as
    `kdl.data.Mixup` gives them: as one array of three numbers a sample, whatever the number of
    classes.

    Shapes: predictions `(batch, …, K)`; labels `(batch, …, 3)`, which hold the class numbers `y_a`
    and `y_b`, and `λ`. For masks there are three numbers a pixel.

    Args:
        from_logits: Whether predictions are logits; False by default: they are probabilities.
        label_smoothing: ε of `kdl.losses.LabelSmoothingCrossentropy`, spread over all classes; 0 by
            default. It makes no difference whether labels are smoothed or mixed first.
        reduction: As in Keras; `"sum_over_batch_size"` by default.
        name: Name of the loss.
        dtype: Dtype of the result; float32 by default.

    Raises:
        ValueError: If shapes do not fit; or, where values are known (outside of compiled code), if
            λ is outside [0, 1] or a class number out of range. In compiled code such a loss is NaN.

    Source: mixup (arXiv 1710.09412), equation 1, in the form of its published code.

    Example:
        >>> loss = MixupCrossentropy()
        >>> round(float(loss([[0, 2, 1.0], [1, 1, 0.3]], [[0.5, 0.25, 0.25]] * 2)), 4)
        1.0397
    """

    elementwise = True

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mixup_crossentropy",
        dtype: DType = None,
    ) -> None:
        check_smoothing(label_smoothing)
        super().__init__(mixup_crossentropy, locals())
