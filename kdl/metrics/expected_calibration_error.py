"""Expected calibration error (ECE)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._checks import check_integer
from kdl._typing import ArrayLike, DType, Tensor
from kdl.metrics._confusion import spread, sum_by_place
from kdl.ops._concrete import marked
from kdl.ops._labels import as_float, check_labels, sparse_labels


@keras.saving.register_keras_serializable("kdl")
class ExpectedCalibrationError(keras.metrics.Metric):
    """Expected calibration error: mean gap of confidence and accuracy, over equal bins.

    A prediction's confidence is its largest probability. With the predictions sorted by it into
    `M` bins, `((m − 1) / M, m / M]`, `ECE = Σ_m |B_m| / n · |accuracy(B_m) − confidence(B_m)|`.
    Of 100 predictions with confidence 0.8 a calibrated network has 80 right. It is 0 before any
    batch, and NaN if a prediction is.

    Shapes: predictions `(batch, …, K)`; class numbers `(batch, …)` or `(batch, …, 1)`, or dense
    labels of the shape of the predictions, of which the largest counts.

    Args:
        num_bins: `M`, 15 by default.
        from_logits: Whether predictions are logits; False by default: they are probabilities.
        name: Name of the metric.
        dtype: Dtype of the result; float32 by default.

    Raises:
        ValueError: If `num_bins` is not a positive integer, shapes do not fit, or there are fewer
            than two classes; or, where values are known (outside of compiled code), if a class
            number is out of range. In compiled code the error is then NaN.

    Source: On Calibration of Modern Neural Networks (arXiv 1706.04599), equations 2, 3 and 5.

    Example:
        >>> metric = ExpectedCalibrationError(num_bins=10)
        >>> metric.update_state([0, 1], [[0.75, 0.25], [0.75, 0.25]])  # right in one of two
        >>> float(metric.result())
        0.25
    """

    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        name: str | None = "expected_calibration_error",
        dtype: DType = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.num_bins = check_integer("num_bins", num_bins)
        self.from_logits = from_logits
        self._direction = "down"
        # A row a bin: Σ weight, Σ weight · confidence, Σ weight · right.
        self.sums = self.add_variable((num_bins, 3), "zeros", dtype="float32", name="sums")

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Sort the predictions of a batch into the bins.

        Args:
            y_true: Labels.
            y_pred: Probabilities or logits.
            sample_weight: Weight of each prediction, or None.
        """
        y_pred = as_float(y_pred)
        if y_pred.shape[-1] < 2:
            raise ValueError(
                f"y_pred must have one score for each of 2 or more classes; received shape "
                f"{tuple(y_pred.shape)}."
            )
        if 0 in y_pred.shape:
            return
        labels, wrong = self._labels(ops.convert_to_tensor(y_true), y_pred)
        if self.from_logits:
            y_pred = ops.softmax(y_pred, axis=-1)
        confidence = ops.cast(ops.max(y_pred, axis=-1), "float32")
        confidence = ops.where(ops.any(ops.isnan(y_pred), -1), float("nan"), confidence)
        right = ops.cast(ops.cast(labels, "int32") == _argmax(y_pred), "float32")
        weights = ops.ones_like(confidence)
        if sample_weight is not None:
            weights = spread(sample_weight, confidence)
        columns = (weights, weights * confidence, weights * right)
        rows = ops.stack([ops.reshape(column, (-1,)) for column in columns], axis=-1)
        places = ops.ceil(ops.reshape(confidence, (-1,)) * self.num_bins) - 1.0
        places = ops.where(ops.isnan(places), 0.0, ops.clip(places, 0, self.num_bins - 1))
        places = ops.cast(places, "int32")
        self.sums.assign_add(marked(sum_by_place(rows, places, self.num_bins), wrong))

    def result(self) -> Tensor:
        """The error over all batches since the last `reset_state`."""
        sums = ops.convert_to_tensor(self.sums)
        total = ops.sum(sums[:, 0])
        gaps = ops.sum(ops.abs(sums[:, 1] - sums[:, 2]))
        return ops.cast(gaps / ops.where(total > 0, total, 1.0), self.dtype)

    def reliability(self) -> dict[str, np.ndarray]:
        """The bins, for a reliability diagram.

        Returns:
            Dict of NumPy arrays `(num_bins,)`: `"lower"` and `"upper"`, the edges of each bin;
            `"confidence"` and `"accuracy"`, the means of its predictions, 0 where there are none;
            `"share"`, its share of all predictions.
        """
        weight, confidence, right = keras.ops.convert_to_numpy(self.sums).astype("float64").T
        count, total = np.where(weight > 0, weight, 1), weight.sum()
        edges = np.arange(self.num_bins + 1) / self.num_bins
        return {
            "lower": edges[:-1],
            "upper": edges[1:],
            "confidence": confidence / count,
            "accuracy": right / count,
            "share": weight / (total if total > 0 else 1),
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "num_bins": self.num_bins,
            "from_logits": self.from_logits,
            "name": self.name,
            "dtype": self.dtype,
        }

    def _labels(self, y_true, y_pred):
        """Class numbers, and what is wrong with them."""
        labels = sparse_labels(y_true, y_pred)
        if labels is None:
            return _argmax(y_true), None
        return labels, check_labels(labels, y_pred.shape[-1])


def _argmax(scores):
    return ops.cast(ops.argmax(scores, axis=-1), "int32")
