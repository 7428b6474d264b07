"""Callback that evaluates metrics of whole sets after each epoch."""

from typing import Any

import keras
import numpy as np

from kdl._checks import check_integer


class HostEvaluation(keras.callbacks.Callback):
    """Predicts a data set after each epoch and adds metrics of it to the logs.

    For metrics that need the whole set at once, such as `kdl.metrics.RetrievalMetrics`, which a
    compiled step can't hold. Callbacks that watch these numbers, such as `EarlyStopping`, stand
    behind this one in the list.

    Args:
        data: A tuple of arrays `(x, y)` or `(x, y, sample_weight)`, as `validation_data` of `fit`;
            or an iterable of such batches, read anew each time: a `keras.utils.PyDataset`, a
            `tf.data.Dataset`, a list.
        metrics: A metric, or several, with `update_state(y, predictions)`, `result` and
            `reset_state`. A result is logged under the metric's name, a dict of results under its
            keys.
        prefix: Put before the names in the logs. Defaults to `"val_"`.
        frequency: Every how many epochs. Defaults to 1.
        batch_size: Samples to predict at once, where `data` is arrays. Defaults to 32.

    Raises:
        ValueError: If `metrics` is empty or holds something else, `frequency` or `batch_size` is
            not a positive integer, arrays differ in length, or `data` holds no batch.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")
        >>> error = keras.metrics.MeanAbsoluteError(name="error")
        >>> evaluation = HostEvaluation((x, y), error)
        >>> history = model.fit(x, y, verbose=0, callbacks=[evaluation])
        >>> sorted(history.history)
        ['loss', 'val_error']
    """

    def __init__(
        self,
        data: Any,
        metrics: Any,
        prefix: str = "val_",
        frequency: int = 1,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        metrics = [metrics] if hasattr(metrics, "update_state") else list(metrics)
        if not metrics:
            raise ValueError("metrics must hold at least one metric; received none.")
        for metric in metrics:
            if not hasattr(metric, "update_state"):
                raise ValueError(
                    f"metrics must be metric objects, such as keras.metrics.AUC(); received "
                    f"{metric!r}."
                )
        batch_size = check_integer("batch_size", batch_size)
        self.data = _Batched(data, batch_size) if _is_arrays(data) else data
        self.metrics = metrics
        self.prefix = prefix
        self.frequency = check_integer("frequency", frequency)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Predicts, computes, and adds the numbers to `logs`."""
        if (epoch + 1) % self.frequency:
            return
        results = self.evaluate(self.model)
        if logs is not None:
            logs.update({self.prefix + name: value for name, value in results.items()})

    def evaluate(self, model: keras.Model) -> dict[str, float]:
        """The metrics of `model` on the data, a dict of floats.

        Args:
            model: The model that predicts.
        """
        for metric in self.metrics:
            metric.reset_state()
        empty = True
        for batch in self.data:
            empty = False
            x, y, weights = keras.utils.unpack_x_y_sample_weight(_as_arrays(batch))
            predictions = model.predict_on_batch(x)
            for metric in self.metrics:
                metric.update_state(y, predictions, sample_weight=weights)
        if empty:
            raise ValueError(
                "data must hold at least one batch; it held none. An iterator that is read once "
                "is empty at the second epoch: pass a list or a data set."
            )
        return self._results()

    def _results(self):
        results = {}
        for metric in self.metrics:
            value = metric.result()
            values = value if isinstance(value, dict) else {metric.name: value}
            for name, number in values.items():
                if name in results:
                    raise ValueError(
                        f"Two metrics give {name!r}. Use one HostEvaluation for each, with a "
                        f"prefix of its own."
                    )
                results[name] = float(number)
        return results


def _is_arrays(data):
    """True if data is one tuple of arrays; batches of a tuple are tuples or lists themselves."""
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        return False
    return not any(isinstance(part, tuple | list) for part in data[1:])


class _Batched:
    """Arrays `(x, y)` or `(x, y, sample_weight)` as batches."""

    def __init__(self, arrays, batch_size):
        self.arrays, self.batch_size = arrays, batch_size
        lengths = {len(leaf) for leaf in keras.tree.flatten(arrays) if leaf is not None}
        if len(lengths) != 1:
            raise ValueError(
                f"Arrays in data must have one length; received {sorted(lengths)}. Batches must "
                f"be tuples (x, y) in a list."
            )
        [self.length] = lengths

    def __iter__(self):
        for start in range(0, self.length, self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield keras.tree.map_structure(
                lambda leaf, rows=rows: None if leaf is None else leaf[rows], self.arrays
            )


def _as_arrays(batch):
    """A batch without tensors of another library, such as tf.data's on JAX."""

    def convert(value):
        foreign = hasattr(value, "__array__") and not keras.ops.is_tensor(value)
        return np.asarray(value) if foreign else value

    return keras.tree.map_structure(convert, batch)
