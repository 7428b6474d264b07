"""Embedding collapse: the spread of an embedding."""

import warnings
from typing import Any

import keras
from keras import ops

from kdl import _compat
from kdl._typing import ArrayLike, DType, Tensor


@keras.saving.register_keras_serializable("kdl")
class EmbeddingCollapse(keras.metrics.Metric):
    """Embedding collapse: spread of an embedding, and a warning when it is a point.

    Triplet losses have a poor minimum in which all embeddings are equal: every distance is 0, and
    the loss stays at the margin, or at `ln 2` with a soft one. The metric is

    `√(mean ‖xᵢ − xⱼ‖²) / max(√(mean ‖xᵢ‖²), unit)`

    over the pairs `i ≠ j` of each batch, and all batches: the usual distance of two embeddings of a
    batch, relative to their norm, or in units of `unit` where norms are below it. It is √2 for
    embeddings that are spread evenly about the origin, and near 0 for a point.

    It runs within the compiled step on every backend. There no value is concrete, so `result` warns
    where it is called with values: Keras does so at the end of each epoch of `fit` and of
    `evaluate`; on PyTorch after every batch. It warns once in the life of the metric.

    Shapes: labels are not looked at; embeddings `(B, D)`.

    Args:
        threshold: The metric below which `result` warns. Defaults to 0.01.
        unit: Norm that counts as small, in the unit of the loss's margin. Defaults to 1.
        name: Name of the metric.
        dtype: As in `keras.metrics.Metric`.

    Raises:
        ValueError: If `threshold` is negative or `unit` is not positive.

    Source: In Defense of the Triplet Loss (arXiv 1703.07737), on training that collapses.

    Example:
        >>> import numpy as np
        >>> metric = EmbeddingCollapse()
        >>> metric.update_state(None, np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
        >>> round(float(metric.result()), 3)
        1.633
    """

    def __init__(
        self,
        threshold: float = 0.01,
        unit: float = 1.0,
        name: str | None = "embedding_collapse",
        dtype: DType = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if not (threshold >= 0 and unit > 0):
            raise ValueError(
                f"threshold must not be negative, and unit must be positive; received "
                f"threshold={threshold}, unit={unit}."
            )
        self.threshold = threshold
        self.unit = unit
        self._warned = False
        for name in ("squared_distances", "pairs", "squared_norms", "samples"):
            variable = self.add_variable((), initializer="zeros", name=name, dtype="float32")
            setattr(self, name, variable)

    def update_state(
        self, y_true: Any, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: Not looked at.
            y_pred: Embeddings.
            sample_weight: Weights `(B,)`; a pair weighs the product of its two.
        """
        embeddings = ops.cast(ops.convert_to_tensor(y_pred), "float32")
        weights = ops.ones_like(embeddings[:, 0])
        if sample_weight is not None:
            weights = weights * ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        weight = ops.sum(weights)
        mean = ops.sum(weights[:, None] * embeddings, axis=0) / ops.where(weight > 0, weight, 1.0)
        # Σ wᵢ wⱼ ‖xᵢ − xⱼ‖² over ordered pairs is 2 W Σ wᵢ ‖xᵢ − mean‖².
        spread = ops.sum(weights * ops.sum(ops.square(embeddings - mean), axis=1))
        self.squared_distances.assign_add(2.0 * weight * spread)
        self.pairs.assign_add(ops.square(weight) - ops.sum(ops.square(weights)))
        self.squared_norms.assign_add(ops.sum(weights * ops.sum(ops.square(embeddings), axis=1)))
        self.samples.assign_add(weight)

    def result(self) -> Tensor:
        """The metric, 0 where there was no pair; warns once, where values are known."""
        distance = _root(self.squared_distances, self.pairs)
        norm = _root(self.squared_norms, self.samples)
        spread = distance / ops.maximum(norm, self.unit)
        self._warn(spread)
        return ops.cast(spread, self.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "threshold": self.threshold,
            "unit": self.unit,
            "name": self.name,
            "dtype": self.dtype,
        }

    def _warn(self, spread):
        if self._warned or _compat.rehearses():
            return
        try:
            collapsed = float(self.pairs) > 0 and float(spread) < self.threshold
        except Exception:  # compiled code has no values, and every backend its own error
            return
        if collapsed:
            self._warned = True
            warnings.warn(
                f"{self.name}: the embedding has shrunk to a point. The distance of two embeddings "
                f"is {float(spread):.2g} of their norm (of unit={self.unit} for smaller norms), "
                f"below threshold={self.threshold}. "
                f"Lower the learning rate, take distance='l2' rather than 'squared_l2', or begin "
                f"with batch_all or semi_hard mining.",
                stacklevel=3,
            )


def _root(total, count):
    count = ops.convert_to_tensor(count)
    return ops.sqrt(total / ops.where(count > 0, count, 1.0))
