"""Ground truth of detectors from the number of the object at each pixel."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdl._checks import check_integer
from kdl._typing import ArrayLike
from kdl.data._object_masks import MaskList, box_of_mask
from kdl.data._truth import padded, truth_of


def instance_targets(instances: Sequence[ArrayLike], label: int = 0) -> dict[str, Any]:
    """Boxes, labels and masks of objects from the maps of `kdl.data.read_instance_masks`.

    Args:
        instances: Integers `(samples, height, width)`, or a list of `(height, width)`: 0 for the
            background, another number for each object. Numbers may have gaps.
        label: Class of all objects. Defaults to 0.

    Returns:
        Dict of `"boxes"` float32 `(samples, most, 4)`, xyxy in pixels around each object;
        `"labels"` int64 `(samples, most)`; `"area"` float32 `(samples, most)`, their pixels; and
        `"masks"`, a sequence with a bool array `(objects, height, width)` for each image, in
        the order of the numbers. Rows without an object are −1.

    Raises:
        ValueError: If there is no image, or a map is no array of integers `(height, width)`.

    Example:
        >>> targets = instance_targets([[[0, 4, 4], [0, 4, 0]]])
        >>> targets["boxes"].tolist(), targets["area"].tolist(), targets["masks"][0].shape
        ([[[1.0, 0.0, 3.0, 2.0]]], [[3.0]], (1, 2, 3))
    """
    label = check_integer("label", label, least=0)
    maps = [np.asarray(one) for one in instances]
    if not maps:
        raise ValueError("Expected the maps of one image or more; received none.")
    masks, truths = MaskList(), []
    for one in maps:
        if one.ndim != 2 or one.dtype.kind not in "iu":
            raise ValueError(
                f"Expected maps of integers (height, width), as kdl.data.read_instance_masks gives "
                f"them; received {one.dtype} of shape {one.shape}."
            )
        numbers = np.unique(one[one != 0])
        of_image = one == numbers[:, None, None]
        rows = [
            {"boxes": box_of_mask(mask), "labels": label, "area": mask.sum()} for mask in of_image
        ]
        masks.append(of_image)
        truths.append(truth_of(rows, ("boxes", "labels", "area")))
    most = max(max(len(truth["labels"]) for truth in truths), 1)
    return {**padded(truths, most), "masks": masks}
