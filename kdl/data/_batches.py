"""Batching and shuffling, shared by the data sets of this package."""

import keras
import numpy as np

from kdl._checks import check_integer
from kdl._words import counted
from kdl.data.input_spec import InputSpec


class Batches(keras.utils.PyDataset):
    """A finite data set cut into batches, in an order that depends on `seed` and `epoch` alone.

    A sub-class implements `_take(rows)`, which returns the batch `(x, y)` of these samples.

    Args:
        num_samples: Number of samples.
        batch_size: Samples in a batch.
        shuffle: Whether every epoch has an order of its own.
        seed: Non-negative integer.
        drop_remainder: Whether a last batch of fewer samples is left out.
        augment: Called with `(x, rng)` on each batch, the generator drawn from seed, epoch and
            batch; returns what takes the place of `x`. If it has a true attribute `takes_labels`,
            it is called with `(x, y, rng)`, and returns both. A list is gone through in its order.
            None leaves the batches as they are.

    Attributes:
        class_names: Names of the classes in the order of the labels, or None.
        spec: `kdl.data.InputSpec` of the images, or None.
    """

    class_names: list[str] | None = None
    spec: InputSpec | None = None

    def __init__(self, num_samples, batch_size, shuffle, seed, drop_remainder, augment=None):
        super().__init__()
        self.batch_size = check_integer("batch_size", batch_size)
        self.shuffle = bool(shuffle)
        self.seed = check_integer("seed", seed, least=0)
        self.drop_remainder = bool(drop_remainder)
        self.augment = augment
        self._restart(num_samples)

    def _restart(self, num_samples):
        """Begins at epoch 0 with this many samples."""
        if self.drop_remainder and num_samples < self.batch_size:
            raise ValueError(
                f"drop_remainder=True leaves no batch: {num_samples} samples are fewer than "
                f"batch_size={self.batch_size}. Lower batch_size."
            )
        self.num_samples = num_samples
        self._cached_order = (None, None)
        self.epoch = 0

    @property
    def epoch(self):
        """Number of the pass whose order is served, from 0; may be set."""
        return self._epoch

    @epoch.setter
    def epoch(self, value):
        self._epoch = check_integer("epoch", value, least=0)
        self._served = set()

    @property
    def workers(self):
        """Threads in which Keras reads batches ahead: 1, which is none; see the setter's error."""
        return 1

    @workers.setter
    def workers(self, value):
        self._check_loading(value > 1, f"workers={value!r}")

    @property
    def use_multiprocessing(self):
        """Tell if Keras reads batches in other processes: False; see the setter's error."""
        return False

    @use_multiprocessing.setter
    def use_multiprocessing(self, value):
        self._check_loading(value, f"use_multiprocessing={value!r}")

    def _check_loading(self, refused, setting):
        # Keras's threads begin a pass before the one before has ended, and its processes each have
        # a data set of their own, whose epoch stays.
        if refused:
            raise ValueError(
                f"{setting} would serve some samples twice and others never, or every epoch in "
                f"the same order, since Keras's workers know no epochs. Leave it: a "
                f"kdl.data.ImageFolder reads its files on all cores by itself."
            )

    def __len__(self):
        full, rest = divmod(self.num_samples, self.batch_size)
        return full if self.drop_remainder or not rest else full + 1

    def __getitem__(self, index):
        """The batch `(x, y)` at `index` of the present epoch."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} is out of range: there are {len(self)} batches.")
        index %= len(self)
        self._served.add(index)
        start = index * self.batch_size
        x, y = self._serve(self._order()[start : start + self.batch_size])
        if self.augment is None:
            return x, y
        return self._augmented(x, y, np.random.default_rng([self.seed, self._epoch, index]))

    def _serve(self, rows):
        """The batch of these samples within an epoch; another than `_take` where it is drawn."""
        return self._take(rows)

    def _augmented(self, x, y, rng):
        steps = self.augment if isinstance(self.augment, list | tuple) else [self.augment]
        for step in steps:
            if getattr(step, "takes_labels", False):
                x, y = step(x, y, rng)
            else:
                x = step(x, rng)
        return x, y

    def unaugmented(self, limit=None):
        """`(x, y)` of all samples as they are kept, without augmentation, or of `limit` by chance.

        The chance is always the same; the epoch is left as it is.

        Args:
            limit: Most samples; None (default) for all.
        """
        rows = self._all_rows()
        if limit is not None and limit < len(rows):
            rows = np.sort(np.random.default_rng(0).permutation(rows)[:limit])
        return self._take(rows)

    def on_epoch_end(self):
        """Moves on to the next epoch once every batch of this one has been served.

        Keras also ends an "epoch" when it has drawn a first batch to build a model, after
        `steps_per_epoch` steps, and before it begins. None of these is a pass over the data.
        """
        if len(self._served) == len(self):
            self.epoch += 1

    def _order(self):
        # Kept together with its epoch in one tuple, since prefetching threads read it as well.
        epoch = self._epoch
        cached_epoch, order = self._cached_order
        if cached_epoch != epoch:
            order = self._draw_order(epoch)
            self._cached_order = (epoch, order)
        return order

    def _draw_order(self, epoch):
        if not self.shuffle:
            return np.arange(self.num_samples)
        return np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)

    def _all_rows(self):
        return np.arange(self.num_samples)

    def _take(self, rows):
        raise NotImplementedError

    def __repr__(self):
        facts = [
            counted(self.num_samples, "sample"),
            counted(len(self), "batch", "batches"),
        ]
        if self.class_names:
            facts.append(counted(len(self.class_names), "class", "classes"))
        if self.spec:
            facts.append(str(self.spec))
        return f"<{type(self).__name__}: {', '.join(facts)}>"
