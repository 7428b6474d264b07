"""Matching of detections with ground truths, for all metrics of detectors.

All images, classes and thresholds go together. Of all pairs of a detection and a ground truth of
the same image and class, few overlap enough to matter; only these are kept. Detections that have
none need no more work. The others are matched in rounds, the best of every image and class first:
a round looks at one detection of each, so that none waits for another.
"""

import itertools

import numpy as np

_PAIRS_AT_A_TIME = 1 << 20


def ranks(groups, scores):
    """Place of each row in its group by falling score, from 0; equal scores keep their order."""
    order = np.lexsort((-scores, groups))
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])
    sizes = np.diff(np.r_[starts, len(ordered)])
    places = np.empty(len(groups), "int64")
    places[order] = np.arange(len(ordered)) - np.repeat(starts, sizes)
    return places


def overlaps(boxes, truths, of_detection=False, pixels=False):
    """Intersection over union, row by row.

    Args:
        boxes: Detections `(N, 4)`.
        truths: Ground truths `(N, 4)`.
        of_detection: Where true, the divisor is the area of the detection.
        pixels: Whether the edges belong to the boxes, so that sides are longer by 1.
    """
    extra = 1 if pixels else 0
    low = np.maximum(boxes[:, :2], truths[:, :2])
    high = np.minimum(boxes[:, 2:], truths[:, 2:])
    shared = np.prod(np.maximum(high - low + extra, 0), -1)
    area = areas(boxes, extra)
    whole = np.where(of_detection, area, area + areas(truths, extra) - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)


def box_overlaps(boxes, truths, of_detection=None, pixels=False):
    """Intersection over union of pairs of boxes, as a function of their two indices.

    Args:
        boxes: Detections `(N, 4)`.
        truths: Ground truths `(M, 4)`.
        of_detection: Ground truths of which the divisor is the area of the detection.
        pixels: As of `overlaps`.
    """

    def overlap(detection, truth):
        by_detection = False if of_detection is None else of_detection[truth]
        return overlaps(boxes[detection], truths[truth], by_detection, pixels)

    return overlap


def areas(boxes, extra=0):
    """Area of each box."""
    return np.prod(boxes[:, 2:] - boxes[:, :2] + extra, -1)


def close_pairs(groups, truth_groups, overlap, least):
    """Pairs of a detection and a ground truth of one group that overlap by `least` or more.

    Args:
        groups: Group of each detection, whole numbers.
        truth_groups: Group of each ground truth.
        overlap: Function of the indices of detections and of ground truths, pair by pair.
        least: The least overlap of a pair.

    Returns:
        Three arrays: index of the detection, of the ground truth, and the overlap. Pairs are in
        the order of the detections.
    """
    order = np.argsort(truth_groups, kind="stable")
    ordered = truth_groups[order]
    starts = np.searchsorted(ordered, groups)
    counts = np.searchsorted(ordered, groups, "right") - starts
    chunks = np.cumsum(counts) // _PAIRS_AT_A_TIME
    pairs = [(np.empty(0, "int64"), np.empty(0, "int64"), np.empty(0))]
    for rows in np.split(np.arange(len(groups)), np.flatnonzero(np.diff(chunks)) + 1):
        ends = np.cumsum(counts[rows])
        detection = np.repeat(rows, counts[rows])
        within = np.arange(len(detection)) - np.repeat(ends - counts[rows], counts[rows])
        truth = order[np.repeat(starts[rows], counts[rows]) + within]
        values = overlap(detection, truth)
        near = values >= least
        pairs.append((detection[near], truth[near], values[near]))
    return tuple(np.concatenate(columns) for columns in zip(*pairs, strict=True))


def match(pairs, groups, places, ignored, reusable, thresholds):
    """The ground truth of each detection, at each threshold, by COCO's rule.

    Detections choose in the order of their places in their group. Each takes the ground truth that
    overlaps most, by the threshold at least, among those not yet taken and not ignored; if there
    is none, among the ignored ones, where the reusable may be taken again. Of equals it takes the
    last.

    Args:
        pairs: What `close_pairs` gives.
        groups: Group of each detection.
        places: Place of each detection in its group.
        ignored: Which ground truths are ignored.
        reusable: Which of them may be taken again.
        thresholds: The overlaps `(T,)`.

    Returns:
        Array `(detections, T)` of indices of ground truths, −1 for none.
    """
    matched = np.full((len(groups), len(thresholds)), -1)
    detections, truths, overlap = pairs
    if not len(detections):
        return matched
    busy, inverse = np.unique(detections, return_inverse=True)
    rounds = ranks(groups[busy], -places[busy].astype("float64"))[inverse]
    order = np.lexsort((-truths, -overlap, ignored[truths], detections, rounds))
    detections, truths, overlap, rounds = (
        values[order] for values in (detections, truths, overlap, rounds)
    )
    enough = overlap[:, None] >= np.minimum(thresholds, 1 - 1e-10)
    free = np.ones((len(ignored), len(thresholds)), bool)
    columns = np.arange(len(thresholds))
    bounds = np.searchsorted(rounds, np.arange(rounds[-1] + 2))
    for start, end in itertools.pairwise(bounds):
        rows = np.arange(start, end)
        possible = enough[rows] & (free[truths[rows]] | reusable[truths[rows], None])
        firsts = np.flatnonzero(np.r_[True, np.diff(detections[rows]) > 0])
        choice = np.where(possible, rows[:, None], end)
        choice = np.minimum.reduceat(choice, firsts, axis=0)
        matches = choice < end
        taken = truths[np.minimum(choice, end - 1)]
        matched[detections[rows[firsts]]] = np.where(matches, taken, -1)
        free[taken[matches], np.broadcast_to(columns, matches.shape)[matches]] = False
    return matched
