"""Metrics of a whole data set, collected in memory outside of the compiled step."""

from typing import Any

import keras

from kdl._typing import ArrayLike, DType


class HostMetric(keras.metrics.Metric):
    """Base of metrics that collect NumPy arrays in `update_state` and compute in `result`.

    A ranking or a precision-recall curve is of a whole set: it is no sum over batches, and its
    parts have no fixed size. So these metrics have no Keras variables, and are not for `compile`,
    whose steps have no values, or ask for the result after every batch. They run in loops and in
    `kdl.training.HostEvaluation`, on every backend.

    A subclass implements `collect(y_true, y_pred)`, which checks a batch of NumPy arrays and gives
    the part to keep, and `compute(parts)`, which gives a number or a dict of numbers.
    """

    def __init__(self, name: str | None = None, dtype: DType = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._parts = []

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: Ground truth of the batch: an array, or a dict of arrays.
            y_pred: Predictions.
            sample_weight: Must be None.
        """
        if sample_weight is not None:
            raise ValueError(
                f"{type(self).__name__} takes no sample_weight; received one. Leave samples out "
                f"of the data instead."
            )
        self._parts.append(self.collect(self._on_host(y_true), self._on_host(y_pred)))

    def result(self) -> Any:
        """The value over all batches since the last `reset_state`."""
        return self.compute(self._parts)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._parts = []

    def collect(self, y_true: Any, y_pred: Any) -> Any:
        """The part of a batch of NumPy arrays that is needed later."""
        raise NotImplementedError

    def compute(self, parts: list) -> Any:
        """The value over all collected parts."""
        raise NotImplementedError

    def _on_host(self, structure):
        if any("Ragged" in type(leaf).__name__ for leaf in keras.tree.flatten(structure)):
            raise ValueError(
                f"{type(self).__name__} takes no ragged tensors, whose padding would be of class "
                f"0: pad with -1, by .to_tensor(-1), or pass lists of arrays."
            )
        try:
            return keras.tree.map_structure(keras.ops.convert_to_numpy, structure)
        except Exception as error:  # a class of its own in every backend
            raise RuntimeError(
                f"{type(self).__name__} needs arrays with values, and got {structure}. In a "
                f"compiled step there are none: use the callback kdl.training.HostEvaluation."
            ) from error
