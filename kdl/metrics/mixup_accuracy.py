"""Mixup accuracy, on samples mixed of two."""

import keras
from keras import ops

from kdl._typing import ArrayLike, DType
from kdl.ops._concrete import marked
from kdl.ops._labels import as_float, mixed_labels


@keras.saving.register_keras_serializable("kdl")
class MixupAccuracy(keras.metrics.Mean):
    """Mixup accuracy: mean of `λ · [k = y_a] + (1 − λ) · [k = y_b]`, `k` the predicted class.

    A sample that is mixed half and half counts one half at most, so that a perfect network does not
    reach 1. To compare with plain accuracy, evaluate on samples that are not mixed.

    Shapes: predictions `(batch, …, K)`; labels `(batch, …, 3)`, which hold the class numbers `y_a`
    and `y_b`, and `λ`, as `kdl.data.Mixup` gives them.

    Args:
        name: Name of the metric.
        dtype: Dtype of the result; float32 by default.

    Raises:
        ValueError: If shapes do not fit; or, where values are known (outside of compiled code), if
            λ is outside [0, 1] or a class number out of range. In compiled code the accuracy is
            then NaN.

    Source: mixup (arXiv 1710.09412), its published code.

    Example:
        >>> metric = MixupAccuracy()
        >>> metric.update_state([[0, 2, 0.75], [1, 1, 0.5]], [[0.7, 0.1, 0.2], [0.1, 0.8, 0.1]])
        >>> float(metric.result())
        0.875
    """

    def __init__(self, name: str | None = "mixup_accuracy", dtype: DType = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: Two class numbers and the share of the first.
            y_pred: Scores.
            sample_weight: Weight of each sample, or None.
        """
        y_pred = ops.convert_to_tensor(y_pred)
        first, second, share, wrong = mixed_labels(as_float(y_true), y_pred)
        predicted = ops.cast(ops.argmax(y_pred, axis=-1), first.dtype)
        hit_first, hit_second = (ops.cast(predicted == y, share.dtype) for y in (first, second))
        values = share * hit_first + (1.0 - share) * hit_second
        return super().update_state(marked(values, *wrong), sample_weight)
