"""One process's part of every batch."""

import keras
import numpy as np

from kdl._warn import warn


class BatchParts(keras.utils.PyDataset):
    """The part of each batch that belongs to one of several processes.

    Batch `i` is the same in every process; process `k` of `n` gets the `k`-th of `n` parts, whose
    sizes differ by one at most.

    Args:
        x: Arrays, or a `keras.utils.PyDataset` of batches.
        y: Arrays of targets, or None.
        sample_weight: Array, or None.
        batch_size: Samples in a batch of all processes; 32 by default. Arrays only. A last batch of
            fewer samples than processes is left out.
        shuffle: Whether each epoch has an order of its own: of samples, or of a dataset's batches.
        number: Number of this process.
        count: Number of processes.
        seed: Of the order; the same in all processes.

    Raises:
        ValueError: If `x` is neither, or an endless dataset, or a dataset with `y` or
            `sample_weight` beside it; if arrays differ in length; if `batch_size` or a dataset's
            batch is smaller than `count`.
    """

    def __init__(self, x, y, sample_weight, batch_size, shuffle, number, count, seed):
        self.dataset = x if isinstance(x, keras.utils.PyDataset) else None
        super().__init__()
        if self.dataset is not None:
            _check_dataset(x, y, sample_weight)
        self.arrays = None if self.dataset is not None else _arrays(x, y, sample_weight)
        self.batch_size = batch_size or 32
        self.shuffle, self.number, self.count = shuffle, number, count
        self.rng = np.random.default_rng(seed)
        if self.arrays is not None and self.batch_size < count:
            raise ValueError(f"batch_size={batch_size} is too small for {count} processes.")
        self._reorder()

    def __len__(self):
        if self.dataset is not None:
            return self.dataset.num_batches
        samples = len(self.order)
        return samples // self.batch_size + (samples % self.batch_size >= self.count)

    def __getitem__(self, index):
        """This process's part of batch `index`."""
        self._served.add(index)
        if self.dataset is not None:
            batch = self.dataset[int(self.order[index])]
            size = len(keras.tree.flatten(batch)[0])
            if size < self.count:
                raise ValueError(
                    f"Batch {index} of the data has {size} samples for {self.count} processes. "
                    f"Leave it out (drop_remainder=True in kdl.data)."
                )
            return _taken(batch, self._part(np.arange(size)))
        start = index * self.batch_size
        return _taken(self.arrays, self._part(self.order[start : start + self.batch_size]))

    def on_epoch_begin(self):
        """Tells the dataset."""
        if self.dataset is not None:
            self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        """Moves on to the next order once every batch of this one has been served.

        Keras also ends an "epoch" after `steps_per_epoch` steps, in the middle of a pass.
        """
        if self.dataset is not None:
            self.dataset.on_epoch_end()
        if len(self._served) == len(self):
            self._reorder()

    def _reorder(self):
        self._served = set()
        items = len(keras.tree.flatten(self.arrays)[0]) if self.arrays else len(self)
        self.order = self.rng.permutation(items) if self.shuffle else np.arange(items)

    def _part(self, rows):
        return np.array_split(rows, self.count)[self.number]


def _check_dataset(dataset, y, sample_weight):
    """Raises ValueError if a dataset can't be split; warns if it is loaded otherwise than alone."""
    if y is not None or sample_weight is not None:
        raise ValueError("A PyDataset gives targets and weights itself: leave out y and these.")
    if dataset.num_batches is None:
        raise ValueError("On several processes a PyDataset must have an end: num_batches is None.")
    if dataset.workers > 1 or dataset.use_multiprocessing:
        # Keras's loaders fetch ahead, each process a number of its own, and tell of no epoch.
        warn(
            f"On several processes the batches of {type(dataset).__name__} are loaded one after "
            f"the other: its workers and use_multiprocessing are left out."
        )


def _arrays(x, y, sample_weight):
    leaves = keras.tree.flatten(x)
    if not leaves or not all(hasattr(leaf, "shape") for leaf in leaves):
        raise ValueError(
            f"On several processes x must be arrays, a keras.utils.PyDataset, or a PyTorch "
            f"DataLoader that gives this process's part; received {type(x).__name__}."
        )
    # Rows of pandas go by their labels, not by their places.
    given = [
        keras.tree.map_structure(lambda a: a.to_numpy() if hasattr(a, "to_numpy") else a, data)
        for data in (x, y, sample_weight)
    ]
    lengths = {len(leaf) for leaf in keras.tree.flatten(given) if leaf is not None}
    if len(lengths) > 1:
        raise ValueError(
            f"x, y and sample_weight must have as many samples; received {sorted(lengths)}."
        )
    while given[-1] is None:
        given.pop()
    return tuple(given)


def _taken(batch, rows):
    return keras.tree.map_structure(lambda a: None if a is None else a[rows], batch)
