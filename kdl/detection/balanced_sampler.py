"""Random samples of anchors or proposals."""

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import ArrayLike, Tensor
from kdl.detection._part import Part


@keras.saving.register_keras_serializable("kdl")
class BalancedSampler(Part):
    """Random sample of a fixed size from each image, a share of it positive.

    Of the positive ones `⌊count · positive_fraction⌋` are drawn at most, and background until there
    are `count`. Where there is less, the sample is smaller.

    Args:
        count: Size of the sample of an image. Defaults to 256, as for region proposals; box heads
            of R-CNN take 512.
        positive_fraction: Largest share of positive ones. Defaults to 0.5; 0.25 in box heads.

    Raises:
        ValueError: If `count` is no positive integer, or the fraction not in 0 … 1.

    Source: Ren et al., Faster R-CNN (arXiv 1506.01497), section 3.1.3.

    Example:
        >>> import numpy as np
        >>> positive, valid = np.array([[True, True, True, False, False, False]]), np.ones((1, 6))
        >>> sample = BalancedSampler(4, 0.5)(positive, valid, seed=0)
        >>> taken = [bool(drawn) for drawn in sample[0]]
        >>> sum(taken[:3]), sum(taken[3:])
        (2, 2)
    """

    def __init__(self, count: int = 256, positive_fraction: float = 0.5) -> None:
        self.count = check_integer("count", count)
        self.positive_fraction = positive_fraction
        if not 0 <= positive_fraction <= 1:
            raise ValueError(
                f"positive_fraction must be from 0 to 1; received {positive_fraction!r}."
            )

    def __call__(
        self, positive: ArrayLike, valid: ArrayLike, seed: int | keras.random.SeedGenerator
    ) -> Tensor:
        """Which anchors are drawn.

        Args:
            positive: Bool `(batch, anchors)`.
            valid: Bool `(batch, anchors)`, positive or background.
            seed: Of the draw: an integer, or a generator for another draw each time.

        Returns:
            Bool tensor `(batch, anchors)`.
        """
        positive, valid = ops.cast(positive, "bool"), ops.cast(valid, "bool")
        keys = keras.random.uniform(ops.shape(positive), seed=seed)
        positives = _drawn(keys, positive & valid, int(self.count * self.positive_fraction))
        count = ops.sum(ops.cast(positives, "int32"), 1, keepdims=True)
        return positives | _drawn(keys, valid & ~positive, self.count - count)


def _drawn(keys, mask, most):
    """The `most` of a mask whose keys are the smallest."""
    order = ops.argsort(ops.where(mask, keys, 2.0), axis=1)
    return mask & (ops.argsort(order, axis=1) < most)
