"""Masks of objects: how files write them, and how they are kept."""

from collections.abc import Sequence

import numpy as np


class MaskList(Sequence):
    """Masks of the objects of many images, of which only what is within their extents is kept.

    As arrays of whole images they would fill any memory: a hundred objects of 512 × 512 pixels
    take 25 MiB.
    """

    def __init__(self):
        self._images = []

    def append(self, masks):
        """Adds the masks of an image, bool `(objects, height, width)`."""
        parts = []
        for mask in masks:
            place = extent(mask)
            parts.append((place, mask[place].copy()))
        self._images.append((masks.shape[1:], parts))

    def __len__(self):
        return len(self._images)

    def __getitem__(self, index):
        """Bool `(objects, height, width)` of an image; a slice gives a list of them."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        size, parts = self._images[index]
        masks = np.zeros((len(parts), *size), bool)
        for mask, (place, part) in zip(masks, parts, strict=True):
            mask[place] = part
        return masks


def extent(mask):
    """The slices of rows and columns within which a mask is true; empty ones if it is nowhere."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def box_of_mask(mask):
    """`[x1, y1, x2, y2]` around what is true; −1 four times if nothing is."""
    rows, columns = extent(mask)
    if rows.start == rows.stop:
        return [-1, -1, -1, -1]
    return [columns.start, rows.start, columns.stop, rows.stop]


def mask_of_segmentation(segmentation, size):
    """A mask as COCO writes it: polygons, or run lengths with or without compression.

    Args:
        segmentation: List of polygons `[x, y, x, y, …]`, or dict of `"size"` and `"counts"`.
        size: `(height, width)` of the image.

    Returns:
        bool `(height, width)`.

    Raises:
        ValueError: If it is neither, or run lengths are of another size.
    """
    from kdl.ops import decode_rle, polygons_to_mask  # which need Keras, as readers do not

    if isinstance(segmentation, dict) and {"size", "counts"} <= set(segmentation):
        if tuple(segmentation["size"]) != tuple(size):
            raise ValueError(
                f"Expected run lengths of the size of the image, {list(size)} (height, width); "
                f"received {segmentation['size']}."
            )
        return decode_rle(segmentation)
    if isinstance(segmentation, list) and all(_is_polygon(part) for part in segmentation):
        return polygons_to_mask(segmentation, size)
    raise ValueError(
        "Expected a list of polygons [x, y, x, y, …] of three corners or more, or run lengths with "
        f"'size' and 'counts'; received {str(segmentation)[:40]}."
    )


def _is_polygon(part):
    return isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0
