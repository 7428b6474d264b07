"""What readers of detection data sets return."""

from typing import Any, NamedTuple

import numpy as np


class _Pair(NamedTuple):
    images: Any
    targets: Any


class DetectionSamples(_Pair):
    """The pair `(images, targets)` of a detection data set, and what else is known of it.

    Args:
        images: uint8 `(samples, height, width, 3)`, or a list of such images of different sizes.
        targets: Dict of arrays `(samples, most, …)`; see `kdl.data.read_coco`.
        class_names: Names of the classes in the order of the labels.
        names: Names of the files of the images.
        skipped: Texts, one for each object that was left out, with the reason.
        image_ids: Numbers of the images in their COCO file, or None (default).
        category_ids: Numbers of the classes there, None for one it lacks; or None (default).

    Attributes:
        class_names: As above, and so are `names`, `skipped`, `image_ids` and `category_ids`.

    Example:
        >>> import numpy as np
        >>> targets = {"boxes": -np.ones((1, 1, 4)), "labels": -np.ones((1, 1), int)}
        >>> data = DetectionSamples(np.zeros((1, 8, 8, 3), "uint8"), targets, ["cat"], ["1.jpg"])
        >>> images, targets = data
        >>> images.shape, data.class_names
        ((1, 8, 8, 3), ['cat'])
    """

    class_names: list[str]
    names: list[str]
    skipped: list[str]
    image_ids: list[int] | None
    category_ids: list[int | None] | None

    def __new__(
        cls,
        images: np.ndarray | list[np.ndarray],
        targets: dict[str, Any],
        class_names: list[str],
        names: list[str],
        skipped: list[str] | None = None,
        image_ids: list[int] | None = None,
        category_ids: list[int | None] | None = None,
    ) -> "DetectionSamples":
        """The pair with its attributes."""
        samples = super().__new__(cls, images, targets)
        samples.class_names = list(class_names)
        samples.names = list(names)
        samples.skipped = list(skipped or [])
        samples.image_ids = image_ids
        samples.category_ids = category_ids
        return samples

    def __getnewargs__(self):
        """What copies and pickles are made of."""
        return (*self, self.class_names, self.names)

    def __repr__(self):
        objects = int((np.asarray(self.targets["labels"]) >= 0).sum())
        return (
            f"<DetectionSamples: {len(self.images)} images, {objects} objects, "
            f"{len(self.class_names)} classes>"
        )
