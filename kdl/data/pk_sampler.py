"""Batches of a few classes with a few samples each, for losses that compare samples."""

from collections.abc import Callable, Sequence

import numpy as np

from kdl._checks import check_integer
from kdl._typing import ArrayLike
from kdl.data._batches import Batches

_TAILS = ("drop", "complete")
_SHORT_CLASSES = ("repeat", "error")


class PKSampler(Batches):
    """Batches of `P` classes with `K` samples of each, for losses on embeddings.

    A pass shuffles the classes and takes `P` at a time, so that it meets every class once. Of each
    class it draws `K` samples: it shuffles them and takes the first `K`. Where a class has `c < K`
    samples, `⌈K / c⌉` copies of it are shuffled, so all are equally likely, and some come twice.
    The samples of a class stand together in the batch.

    An epoch is `passes` passes: `P · K · len(sampler)` samples, far fewer than there are, unless
    classes are small. `passes=len(y) // (classes * K)` makes an epoch as long as the data. What is
    drawn follows from `(seed, epoch)` alone; `epoch` moves on by itself after a full epoch, of
    `fit` or of any other loop that calls `on_epoch_end`, and may be set, as `kdl.data.ArrayDataset`
    explains: for repeatable runs, pass `shuffle=False` to `fit`.
    Keras draws up to two batches before it begins; where an epoch has no more, that counts as one.

    Args:
        x: Samples: an array `(N, …)`, or anything with a length whose items are arrays of one
            shape; or a `kdl.data.ArrayDataset` or `kdl.data.ImageFolder`, of which samples and
            labels are taken, and no batches.
        y: Integer labels `(N,)`; None (default) for a data set.
        classes_per_batch: `P`. Defaults to 18.
        samples_per_class: `K`. Defaults to 4.
        tail: What becomes of the last classes of a pass, when fewer than `P` are left. `"drop"`
            (default) leaves them out of this pass; `"complete"` fills the batch with other classes
            of it.
        short_classes: `"repeat"` (default) or, for classes of fewer than `K` samples, `"error"`.
        passes: Passes over the classes in an epoch. Defaults to 1.
        seed: Non-negative integer.
        augment: Called with `(x, rng)` on each batch, for instance `kdl.data.RandomShift(2)`; the
            random numbers follow from seed, epoch and batch. None (default) changes nothing, or
            does what the data set does.

    Attributes:
        num_samples: Samples in an epoch, repeated ones included.
        epoch: Number of the epoch, from 0; may be set.

    Raises:
        ValueError: If the labels are no integers `(N,)`, there are fewer than `P` classes, a class
            has too few samples and `short_classes="error"`, or an argument is out of range.

    Source: In Defense of the Triplet Loss (arXiv 1703.07737), section 2.

    Example:
        >>> import numpy as np
        >>> x, y = np.zeros((60, 8, 8, 1), "float32"), np.arange(60) % 10
        >>> sampler = PKSampler(x, y, classes_per_batch=3, samples_per_class=4)
        >>> images, labels = sampler[0]
        >>> len(sampler), images.shape, np.unique(labels).size
        (3, (12, 8, 8, 1), 3)
        >>> longer = PKSampler(x, y, classes_per_batch=5, samples_per_class=3, passes=2)
        >>> longer.num_samples  # as many as there are
        60
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        classes_per_batch: int = 18,
        samples_per_class: int = 4,
        tail: str = "drop",
        short_classes: str = "repeat",
        passes: int = 1,
        seed: int = 0,
        augment: Callable | Sequence[Callable] | None = None,
    ) -> None:
        classes_per_batch = check_integer("classes_per_batch", classes_per_batch)
        samples_per_class = check_integer("samples_per_class", samples_per_class)
        passes = check_integer("passes", passes)
        for name, value, known in (
            ("tail", tail, _TAILS),
            ("short_classes", short_classes, _SHORT_CLASSES),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}; received {value!r}.")
        if isinstance(x, Batches):
            augment = augment or x.augment
            self.class_names, self.spec = x.class_names, x.spec
        self._rows, labels = _source(x, y)
        self._members = _members(labels, classes_per_batch, samples_per_class, short_classes)
        self.classes_per_batch = classes_per_batch
        self.samples_per_class = samples_per_class
        self.tail = tail
        self.passes = passes
        batches, rest = divmod(len(self._members), classes_per_batch)
        batches = passes * (batches + (rest > 0 and tail == "complete"))
        batch_size = classes_per_batch * samples_per_class
        super().__init__(batches * batch_size, batch_size, True, seed, True, augment)

    def _take(self, rows):
        return self._rows(rows)

    def _all_rows(self):
        return np.sort(np.concatenate(self._members))

    def _draw_order(self, epoch):
        rng = np.random.default_rng([self.seed, epoch])
        classes = np.concatenate([self._draw_classes(rng) for _ in range(self.passes)])
        return np.concatenate([self._draw_samples(self._members[c], rng) for c in classes])

    def _draw_classes(self, rng):
        """The classes of one pass, a whole number of batches."""
        classes = rng.permutation(len(self._members))
        rest = len(classes) % self.classes_per_batch
        if not rest:
            return classes
        if self.tail == "drop":
            return classes[:-rest]
        others = rng.permutation(classes[:-rest])[: self.classes_per_batch - rest]
        return np.concatenate([classes, others])

    def _draw_samples(self, members, rng):
        copies = -(-self.samples_per_class // len(members))
        return rng.permutation(np.tile(members, copies))[: self.samples_per_class]


def _source(x, y):
    """A function of row numbers that gives `(x, y)` of these rows, and all labels."""
    if isinstance(x, Batches):
        if y is not None:
            raise ValueError("y must be None beside a data set, which has labels; received one.")
        labels = _checked(x.labels, x.num_samples)
        return x._take, labels
    if y is None:
        raise ValueError("y must hold the labels of the array x; received None.")
    labels = _checked(y, len(x))
    if hasattr(x, "shape"):
        return lambda rows: (np.asarray(x[rows]), labels[rows]), labels
    return lambda rows: (np.stack([x[int(row)] for row in rows]), labels[rows]), labels


def _checked(labels, count):
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"y must hold one integer for each of the {count} samples, of shape ({count},); "
            f"received {labels.dtype} of shape {labels.shape}."
        )
    return labels


def _members(labels, classes_per_batch, samples_per_class, short_classes):
    """The row numbers of each class."""
    classes, sizes = np.unique(labels, return_counts=True)
    if len(classes) < classes_per_batch:
        raise ValueError(
            f"classes_per_batch={classes_per_batch} needs as many classes; the labels hold "
            f"{len(classes)}."
        )
    short = classes[sizes < samples_per_class]
    if short.size and short_classes == "error":
        raise ValueError(
            f"samples_per_class={samples_per_class} needs as many samples of every class; fewer "
            f"have {short.size} classes, the first of them {short[0]}. Lower samples_per_class, or "
            f"set short_classes='repeat'."
        )
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
