"""Share of active triplets, from which a triplet loss still learns."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice
from kdl._typing import ArrayLike, DType, Tensor
from kdl.ops import pairwise_distances
from kdl.ops._concrete import marked
from kdl.ops._embeddings import checked_labels, is_margin
from kdl.ops.distances import check_metric, unit_rows
from kdl.ops.triplets import (
    hardest_negatives,
    hardest_positives,
    sum_of_hinges,
    triplet_masks,
)

_COUNTED = ("triplets", "anchors")


@keras.saving.register_keras_serializable("kdl")
class ActiveTriplets(keras.metrics.Metric):
    """Share of triplets of a batch whose loss `[m + D(a, p) − D(a, n)]₊` is not zero.

    Near 0, batch-all learns nothing any more, and harder mining pays; near 1 from the first epoch
    to the last, nothing was learned, see also `kdl.metrics.EmbeddingCollapse`. Over batches, the
    share of all their triplets. It runs within the compiled step on every backend, in the memory of
    the distances of a batch.

    Shapes: labels `(B,)` or `(B, 1)`, embeddings `(B, D)`. The share is NaN if an embedding is.

    Args:
        margin: `m`, that of the loss, a number that is not negative.
        of: `"triplets"` (default), or `"anchors"` for the share of anchors that have such a
            triplet: those whose batch-hard loss is not zero. Anchors without a positive or a
            negative do not count.
        distance: `"l2"` (default), `"squared_l2"` or `"cosine"`.
        normalize: Whether embeddings are divided by their norms first. Defaults to False.
        name: Name of the metric.
        dtype: As in `keras.metrics.Metric`.

    Raises:
        ValueError: If an argument is none of these. When called: if the shapes are others, or
            labels with concrete values are no integers; in compiled steps the share is then NaN. On
            JAX `fit` cuts labels beyond 32 bits, see `kdl.losses.TripletLoss`.

    Source: In Defense of the Triplet Loss (arXiv 1703.07737), on batch-all.

    Example:
        >>> import numpy as np
        >>> metric = ActiveTriplets(margin=1.0)
        >>> metric.update_state(np.array([0, 0, 1, 1]), np.array([[0.0], [1.0], [3.0], [3.5]]))
        >>> float(metric.result())
        0.0
        >>> metric.update_state(np.array([0, 1, 0, 1]), np.array([[0.0], [1.0], [3.0], [3.5]]))
        >>> float(metric.result())  # 7 of 16
        0.4375
    """

    def __init__(
        self,
        margin: float,
        of: str = "triplets",
        distance: str = "l2",
        normalize: bool = False,
        name: str | None = "active_triplets",
        dtype: DType = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        check_metric(distance)
        if not is_margin(margin):
            raise ValueError(
                f"margin must be a number that is not negative; received {margin!r}. With a soft "
                f"margin every triplet counts."
            )
        check_choice("of", of, _COUNTED)
        self.margin = float(margin)
        self.of = of
        self.distance = distance
        self.normalize = normalize
        self.active = self.add_variable((), initializer="zeros", name="active", dtype="float32")
        self.total = self.add_variable((), initializer="zeros", name="total", dtype="float32")

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch.

        Args:
            y_true: Integer labels.
            y_pred: Embeddings.
            sample_weight: Weights `(B,)` of the anchors.
        """
        embeddings = ops.cast(ops.convert_to_tensor(y_pred), "float32")
        labels, wrong = checked_labels(y_true, embeddings)
        if 0 in labels.shape:
            return
        if self.normalize:
            embeddings = unit_rows(embeddings)
        distances = pairwise_distances(ops.stop_gradient(embeddings), self.distance)
        count = self._anchors if self.of == "anchors" else self._triplets
        active, total = count(labels, distances, *triplet_masks(labels))
        # No comparison holds for NaN, which would look as if nothing were left to learn.
        active = ops.where(ops.any(ops.isnan(distances)), float("nan"), active)
        if sample_weight is not None:
            weights = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
            active, total = active * weights, total * weights
        self.active.assign_add(marked(ops.sum(active), wrong))
        self.total.assign_add(ops.sum(total))

    def result(self) -> Tensor:
        """The share, 0 where there was no triplet."""
        total = ops.convert_to_tensor(self.total)
        share = self.active / ops.where(total > 0, total, 1.0)
        return ops.cast(share, self.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "margin": self.margin,
            "of": self.of,
            "distance": self.distance,
            "normalize": self.normalize,
            "name": self.name,
            "dtype": self.dtype,
        }

    def _triplets(self, labels, distances, positive, negative):
        positives, negatives = (
            ops.sum(ops.cast(mask, "float32"), axis=1) for mask in (positive, negative)
        )
        _, active = sum_of_hinges(distances, labels, negative, self.margin)
        return active, positives * negatives

    def _anchors(self, labels, distances, positive, negative):
        itself = ops.arange(ops.shape(labels)[0])
        near, far = (
            ops.take_along_axis(distances, hardest(distances, mask, itself)[:, None], axis=1)[:, 0]
            for hardest, mask in ((hardest_positives, positive), (hardest_negatives, negative))
        )
        valid = ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))
        active = ops.logical_and(valid, self.margin + near - far > 0)
        return ops.cast(active, "float32"), ops.cast(valid, "float32")
