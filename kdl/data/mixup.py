"""Mixup of images and whatever labels they have."""

from typing import Any

import numpy as np

from kdl._checks import check_integer

_TOO_LARGE = 2**24  # the first whole number whose successor float32 does not have


class Mixup:
    """Mixes each image of a batch with another one of it, and their labels alike.

    `x = λ · x_i + (1 − λ) · x_j`, with `j` from a random permutation of the batch, so that a
    image may meet itself, and `λ` from `Beta(α, α)`: its mean is ½ and its variance
    `1 / (4 (2α + 1))`. One `λ` serves the whole batch, as in the paper's code, or each sample has
    its own.

    Labels follow their dtype and shape:

    - Whole numbers are class numbers: `(N,)` or `(N, 1)` of images, `(N, height, width)` or
      `(N, height, width, 1)` of pixels. They become float32 triples `(…, 3)` of `y_i`, `y_j` and
      `λ`, which `kdl.losses.MixupCrossentropy` and `kdl.metrics.MixupAccuracy` take; or, with
      `num_classes`, shares `(…, num_classes)` for any cross-entropy with dense labels.
      `class_weight` of `fit` doesn't go with triples, in which Keras takes the largest number for
      the class; with shares it is the weight of the larger class, not `λ w_i + (1 − λ) w_j`.
    - Floats are mixed as the images are: one-hot labels, dense masks, targets of a regression.
      Truth values are floats of 0 and 1.
    - A dict is mixed key by key. If it has `"boxes"` `(N, M, 4)` and `"classes"` `(N, M)`, the
      boxes of both images are kept, `(N, 2M, 4)` and `(N, 2M)`, and `"weights"` `(N, 2M)` says
      how much of each box there is: `λ` or `1 − λ`, times the weight that it had; 0 for padding
      (class −1).

    It is made for `augment` of `kdl.data.ArrayDataset`, also in a list after other augmentations,
    and runs alone too: `Mixup()(images, labels, rng)`.

    Args:
        alpha: `α`, at least 0; 0.2 by default, as for ImageNet; the paper has 1 for CIFAR. With 0,
            `λ` is 1 and nothing is mixed.
        per_sample: Whether each sample has its own `λ`. False by default.
        num_classes: Number of classes, for dense labels from class numbers; None (default) for
            triples.

    Raises:
        ValueError: If an argument is out of range, the images are no batch `(N, height, width,
            channels)`, or labels are of another length, shape or range.

    Source: mixup (arXiv 1710.09412), section 2, and its published code.

    Example:
        >>> import numpy as np
        >>> images = np.ones((2, 8, 8, 1), "float32")
        >>> mixed, labels = Mixup(alpha=0)(images, np.array([3, 7]), np.random.default_rng(0))
        >>> labels[:, [0, 2]].tolist()  # the label of its own, and λ
        [[3.0, 1.0], [7.0, 1.0]]
    """

    takes_labels = True

    def __init__(
        self, alpha: float = 0.2, per_sample: bool = False, num_classes: int | None = None
    ) -> None:
        if isinstance(alpha, bool) or not 0 <= alpha < np.inf:
            raise ValueError(f"alpha must be a number of at least 0; received {alpha!r}.")
        if num_classes is not None:
            num_classes = check_integer("num_classes", num_classes, least=2)
        self.alpha = alpha
        self.per_sample = bool(per_sample)
        self.num_classes = num_classes

    def __call__(
        self, images: np.ndarray, labels: Any, rng: np.random.Generator
    ) -> tuple[np.ndarray, Any]:
        """The mixed images and labels.

        Args:
            images: `(N, height, width, channels)`. Floats keep their dtype, others become float32.
            labels: Array, or dict of arrays, of N samples.
            rng: `numpy.random.Generator`.
        """
        images = np.asarray(images)
        if images.ndim != 4:
            raise ValueError(
                f"Mixup needs a batch of images (N, height, width, channels), of which to mix "
                f"two; received shape {images.shape}."
            )
        size = len(images)
        partners = rng.permutation(size)
        shares = self._shares(size, rng)
        return _mix(images, partners, shares), self._labels(labels, partners, shares)

    def _shares(self, size, rng):
        """λ of each sample, float32."""
        count = size if self.per_sample else 1
        drawn = rng.beta(self.alpha, self.alpha, count) if self.alpha else np.ones(count)
        return np.broadcast_to(drawn, (size,)).astype("float32")

    def _labels(self, labels, partners, shares):
        if isinstance(labels, dict):
            return self._of_dict(labels, partners, shares)
        labels = np.asarray(labels)
        if labels.ndim == 0 or len(labels) != len(shares):
            raise ValueError(
                f"Expected one label for each of {len(shares)} images; received labels of shape "
                f"{labels.shape}."
            )
        _check_kind(labels)
        if np.issubdtype(labels.dtype, np.integer):
            return self._of_classes(_without_last_axis(labels), partners, shares)
        return _mix(labels, partners, shares)

    def _of_classes(self, labels, partners, shares):
        if self.num_classes is None:
            pairs = np.stack([labels, labels[partners]], -1).astype("float32")
            third = np.broadcast_to(_spread(shares, labels.ndim), labels.shape)
            return np.concatenate([pairs, third[..., None]], -1)
        if labels.size and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(
                f"Labels must be from 0 to {self.num_classes - 1}, with num_classes="
                f"{self.num_classes}; received {labels.min()} to {labels.max()}."
            )
        dense = (labels[..., None] == np.arange(self.num_classes)).astype("float32")
        return _mix(dense, partners, shares)

    def _of_dict(self, labels, partners, shares):
        boxes = {}
        if "boxes" in labels:
            boxes = _both_boxes(labels, partners, shares)
        others = {}
        for key, value in labels.items():
            if key not in boxes:
                try:
                    others[key] = self._labels(value, partners, shares)
                except ValueError as error:
                    raise ValueError(f"labels[{key!r}]: {error}") from error
        return {**boxes, **others}


def _check_kind(labels):
    """Raises ValueError for labels that can't be mixed, or that float32 triples would not hold."""
    kind = labels.dtype.kind
    if kind not in "biuf":
        raise ValueError(
            f"Labels must be numbers; received {labels.dtype}. Number classes by "
            f"np.unique(labels, return_inverse=True)."
        )
    if kind in "iu" and labels.size and max(-int(labels.min()), int(labels.max())) >= _TOO_LARGE:
        raise ValueError(
            f"Class numbers must be below 2²⁴, as they become float32; received "
            f"{labels.min()} to {labels.max()}."
        )


def _mix(values, partners, shares):
    """`λ · v_i + (1 − λ) · v_j`, in float32 or finer."""
    dtype = values.dtype if np.issubdtype(values.dtype, np.floating) else np.dtype("float32")
    fine = values.astype(np.promote_types(dtype, "float32"), copy=False)
    shares = _spread(shares, fine.ndim)
    return (shares * fine + (1 - shares) * fine[partners]).astype(dtype, copy=False)


def _spread(shares, rank):
    return shares.reshape(-1, *[1] * (rank - 1))


def _without_last_axis(labels):
    """Class numbers without a last axis of one."""
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.ndim not in (1, 3):
        raise ValueError(
            f"Class numbers must be (N,) or (N, height, width); received shape {labels.shape}. "
            f"One-hot labels must be floats."
        )
    return labels


def _both_boxes(labels, partners, shares):
    """Boxes, classes and weights of both images, one after the other."""
    if "classes" not in labels:
        raise ValueError("Labels with 'boxes' must have 'classes' too, with −1 for padding.")
    boxes, classes = np.asarray(labels["boxes"]), np.asarray(labels["classes"])
    weights = np.asarray(labels.get("weights", np.ones(classes.shape)), "float32")
    expected = (len(shares), *boxes.shape[1:2])
    if boxes.shape != (*expected, 4) or not classes.shape == weights.shape == expected:
        raise ValueError(
            f"Expected boxes (N, M, 4), and classes and weights (N, M), for {len(shares)} "
            f"images; received shapes {boxes.shape}, {classes.shape} and {weights.shape}."
        )
    weights = np.where(classes < 0, 0, weights).astype("float32")
    own, other = shares[:, None] * weights, (1 - shares[:, None]) * weights[partners]
    return {
        "boxes": np.concatenate([boxes, boxes[partners]], 1),
        "classes": np.concatenate([classes, classes[partners]], 1),
        "weights": np.concatenate([own, other], 1),
    }
