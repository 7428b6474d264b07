"""Callback that evaluates metrics of whole sets after each epoch."""

import keras
import numpy as np


class HostEvaluation(keras.callbacks.Callback):
    """Predicts a data set after each epoch and adds metrics of it to the logs.

    For metrics that need the whole set at once, such as `kdl.metrics.RetrievalMetrics`, which a
    compiled step can't hold. Callbacks that watch these numbers, such as `EarlyStopping`, stand
    behind this one in the list.

    Args:
        data: Iterable of batches `(x, y)` or `(x, y, sample_weight)`, read anew each time: a
            `keras.utils.PyDataset`, a `tf.data.Dataset`, a list.
        metrics: Metrics with `update_state(y, predictions)`, `result` and `reset_state`. A result
            is logged under the metric's name, a dict of results under its keys.
        prefix: Put before the names in the logs. Defaults to `"val_"`.
        frequency: Every how many epochs. Defaults to 1.

    Raises:
        ValueError: If `metrics` is empty, `frequency` is not a positive integer, or `data` holds no
            batch.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")
        >>> error = keras.metrics.MeanAbsoluteError(name="error")
        >>> evaluation = HostEvaluation([(x, y)], [error])
        >>> history = model.fit(x, y, verbose=0, callbacks=[evaluation])
        >>> sorted(history.history)
        ['loss', 'val_error']
    """

    def __init__(self, data, metrics, prefix="val_", frequency=1):
        super().__init__()
        metrics = list(metrics)
        if not metrics:
            raise ValueError("metrics must hold at least one metric; received none.")
        if not isinstance(frequency, int) or frequency < 1:
            raise ValueError(f"frequency must be a positive integer; received {frequency!r}.")
        self.data = data
        self.metrics = metrics
        self.prefix = prefix
        self.frequency = frequency

    def on_epoch_end(self, epoch, logs=None):
        """Predicts, computes, and adds the numbers to `logs`."""
        if (epoch + 1) % self.frequency:
            return
        found = {self.prefix + name: value for name, value in self.evaluate(self.model).items()}
        if logs is not None:
            logs.update(found)

    def evaluate(self, model):
        """The metrics of `model` on the data, a dict of floats.

        Args:
            model: What predicts.
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


def _as_arrays(batch):
    """A batch without tensors of another library, such as tf.data's on JAX."""

    def convert(value):
        foreign = hasattr(value, "__array__") and not keras.ops.is_tensor(value)
        return np.asarray(value) if foreign else value

    return keras.tree.map_structure(convert, batch)
