"""Masks of a whole data set, held and compared as runs.

A mask is two rows of places in its pixels, counted down the columns: where runs of ones begin, and
where they end. That is far less than the pixels, and what two masks share is told without them.
"""

import numpy as np

from kdl.ops.masks import as_masks
from kdl.ops.run_lengths import mask_counts, read_rle


def read_masks(name, images, labels):
    """Runs and sizes of the masks of a batch.

    Args:
        name: Name of the masks in errors.
        images: Array `(images, N, height, width)`, or a list with an array or a list of masks for
            each image: arrays, or dicts as of `kdl.ops.encode_rle`.
        labels: Labels `(N,)` of each image; negative ones are padding, whose masks are not read.

    Returns:
        For each object its runs, an object array of int32 arrays `(2, runs)`; and sizes `(N, 2)`.

    Raises:
        ValueError: If a mask is missing or broken.
    """
    if _count(images) != len(labels):
        raise ValueError(
            f"{name} must hold the masks of each of {len(labels)} images; received "
            f"{_count(images)}."
        )
    runs, sizes = [], []
    for masks, numbers in zip(images, labels, strict=True):
        if _count(masks) != len(numbers):
            raise ValueError(
                f"{name} must hold a mask for each label, padding included; received "
                f"{_count(masks)} masks in an image of {len(numbers)} labels."
            )
        for place in np.flatnonzero(numbers >= 0):
            size, counts = _read(name, masks[place])
            runs.append(_runs(counts))
            sizes.append(size)
    held = np.empty(len(runs), object)
    for row, mask in enumerate(runs):  # at once, NumPy would join those of one shape
        held[row] = mask
    return held, np.reshape(sizes, (-1, 2)).astype("int64")


def check_one_size(*tables):
    """Raise if masks of an image differ in size; `"size"` is then taken out of the tables."""
    image = np.concatenate([table["image"] for table in tables])
    sizes = np.concatenate([table.pop("size") for table in tables])
    _, first, inverse = np.unique(image, return_index=True, return_inverse=True)
    differs = (sizes != sizes[first][inverse]).any(-1)
    if differs.any():
        other = sizes[first][inverse][differs][0]
        raise ValueError(
            f"Masks of an image must be of one size, that of the image; received "
            f"{sizes[differs][0].tolist()} beside {other.tolist()} in image "
            f"{image[differs][0]} of the batch."
        )


def mask_areas(runs):
    """Number of pixels of each mask."""
    return np.array([(mask[1] - mask[0]).sum() for mask in runs], "float64")


def mask_overlaps(masks, truths, of_detection):
    """Intersection over union of pairs of masks, as a function of their two indices.

    Args:
        masks: Runs of the detections.
        truths: Runs of the ground truths.
        of_detection: Ground truths of which the divisor is the area of the detection.
    """
    mask_area, truth_area = mask_areas(masks), mask_areas(truths)

    def overlap(detection, truth):
        shared = np.zeros(len(detection))
        order = np.argsort(truth, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(truth[order])) + 1):
            if len(rows):
                shared[rows] = _shared(masks[detection[rows]], truths[truth[rows[0]]])
        union = mask_area[detection] + truth_area[truth] - shared
        whole = np.where(of_detection[truth], mask_area[detection], union)
        return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)

    return overlap


def _count(items):
    """Length of a list or an array; 0 of a number, which has none."""
    return len(items) if getattr(items, "ndim", 1) and hasattr(items, "__len__") else 0


def _read(name, mask):
    try:
        if isinstance(mask, dict):
            return read_rle(mask)
        mask = as_masks("a mask", mask, 2)
        return mask.shape, mask_counts(mask)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _runs(counts):
    edges = np.cumsum(counts)[: len(counts) // 2 * 2]
    return edges.reshape(-1, 2).T.astype("int32")


def _shared(masks, other):
    """Number of pixels that each mask shares with another."""
    begins, ends = (np.concatenate([mask[row] for mask in masks]) for row in (0, 1))
    counts = np.r_[0, np.cumsum(_ones_before(other, ends) - _ones_before(other, begins))]
    bounds = np.cumsum([0, *(mask.shape[1] for mask in masks)])
    return np.diff(counts[bounds])


def _ones_before(mask, places):
    """Number of ones before each place."""
    begins, ends = mask
    if not len(begins):
        return np.zeros(len(places), "int64")
    lengths = ends - begins
    before = np.cumsum(lengths) - lengths
    run = np.searchsorted(begins, places, "right") - 1
    within = np.minimum(places - begins[run], lengths[run])
    return np.where(run >= 0, before[run] + within, 0)
