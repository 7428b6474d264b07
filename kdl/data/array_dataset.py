"""Arrays in memory as a data set for `fit`."""

from collections.abc import Callable, Sequence

import numpy as np

from kdl._typing import ArrayLike
from kdl.data._batches import Batches
from kdl.data.input_spec import InputSpec


class ArrayDataset(Batches):
    """Batches of arrays in memory, shuffled anew in every epoch and repeatable from any epoch.

    Batch `i` of epoch `e` holds `x[order[i · batch_size : (i + 1) · batch_size]]` and the same of
    `y`, where `order` is a permutation drawn from `(seed, e)` alone. `epoch` says which pass is
    served; it moves on by itself after a full pass, of `fit` or of any other loop that calls
    `on_epoch_end`.

    `fit` by default shuffles the order of the batches once more, from Python's global random state.
    For repeatable runs, pass `shuffle=False` to `fit`. To take up a run at epoch `k`, set
    `dataset.epoch = k`. To tie it to the epochs that `fit` counts (`initial_epoch`, restored
    backups), add
    `keras.callbacks.LambdaCallback(on_epoch_begin=lambda k, logs: setattr(dataset, "epoch", k))`.

    Keras looks at batches before it begins: at the first two before every `fit`, `evaluate` and
    `predict` on TensorFlow, at one before the first `fit` after `compile` on JAX and PyTorch. They
    come again within the epoch, with the same random numbers; but an `augment` that draws from a
    generator of its own has moved on. Where an epoch has no more batches, that counts as one.

    `workers` and `use_multiprocessing` of Keras's data sets cannot be set: its workers know no
    epochs, and would serve samples twice or an epoch again.

    Args:
        x: Array `(N, …)`. Batches have its dtype.
        y: Array `(N, …)`. Batches have its dtype.
        batch_size: Samples in a batch.
        shuffle: Whether to shuffle; with `False` the order is that of the arrays.
        seed: Non-negative integer.
        drop_remainder: Whether to leave out a last batch of fewer samples.
        augment: Called with `(x, rng)` on each batch, for instance `kdl.data.RandomShift(2)`; the
            random numbers follow from seed, epoch and batch. With a true attribute `takes_labels`,
            as `kdl.data.Mixup` has it, called with `(x, y, rng)` and returning both. A list of
            several is gone through in its order. None (default) changes nothing.
        class_names: Names of the classes in the order of the labels, or None (default).
        spec: `kdl.data.InputSpec` by which images became `x`, or None (default). A model of
            `kdl.applications` remembers both from `fit`, so that its `.tflite` file tells them.

    Attributes:
        labels: The array `y`.
        num_samples: N.
        epoch: Number of the pass, from 0; may be set.

    Raises:
        ValueError: If `x` and `y` differ in length or are empty, `spec` describes other images, or
            an argument is out of range.

    Example:
        >>> import numpy as np
        >>> dataset = ArrayDataset(np.zeros((5, 8, 8, 1), "float32"), np.arange(5), batch_size=2)
        >>> [tuple(x.shape) for x, y in dataset]
        [(2, 8, 8, 1), (2, 8, 8, 1), (1, 8, 8, 1)]
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        drop_remainder: bool = False,
        augment: Callable | Sequence[Callable] | None = None,
        class_names: Sequence[str] | None = None,
        spec: InputSpec | None = None,
    ) -> None:
        x, y = np.asarray(x), np.asarray(y)
        if x.ndim < 1 or y.ndim < 1 or len(x) != len(y) or len(x) == 0:
            raise ValueError(
                f"x and y must have the same number of samples, at least one; received the shapes "
                f"{x.shape} and {y.shape}."
            )
        if spec is not None:
            spec.check(x, "x")
        super().__init__(len(x), batch_size, shuffle, seed, drop_remainder, augment)
        self._x = x
        self.class_names = None if class_names is None else list(class_names)
        self.spec = spec
        self.labels = y

    def _take(self, rows):
        return self._x[rows], self.labels[rows]
