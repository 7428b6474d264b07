"""Anchor labels as masks: which anchors show a class, and which count."""

from typing import Any, NamedTuple

from keras import ops

from kdl.ops._labels import check_labels, wide_labels
from kdl.ops._shapes import shapes_match

_KEYS = ("labels", "positive", "valid")


class AnchorLabels(NamedTuple):
    """The class of each anchor, and what it counts as; all of one shape.

    `labels` are places among the scores, and `background_class` where the anchor is not positive.
    `positive` anchors show a class, and of the `valid` ones the others are background: what is not
    valid has no part in a loss. `wrong` is for `kdl.ops._concrete.marked`.
    """

    labels: Any
    positive: Any
    valid: Any
    wrong: Any = None

    @property
    def negative(self):
        """The anchors of the background."""
        return self.valid & ~self.positive


def as_targets(y_true, y_pred):
    """The dict of anchor targets, from a dict or a named tuple; None if `y_true` is a tensor.

    Args:
        y_true: Labels, or targets: `"labels"`, `"positive"` and optionally `"valid"`, `(…,)` each.
        y_pred: Tensor `(…, K)`.

    Raises:
        ValueError: If labels or positives are missing, or a shape is another.
    """
    if hasattr(y_true, "_asdict"):
        y_true = y_true._asdict()
    if not isinstance(y_true, dict):
        return None
    if not {"labels", "positive"} <= y_true.keys():
        raise ValueError(
            f"Anchor targets must hold 'labels' and 'positive', and 'valid' unless all anchors "
            f"count; received {sorted(map(str, y_true))}."
        )
    targets = {key: ops.convert_to_tensor(y_true[key]) for key in _KEYS if key in y_true}
    for key, values in targets.items():
        if not shapes_match(values.shape, y_pred.shape[:-1]):
            raise ValueError(
                f"{key!r} of anchor targets must have the shape of y_pred without its classes, "
                f"{tuple(y_pred.shape[:-1])}; received {tuple(values.shape)}."
            )
    return targets


def from_targets(targets, classes, background_class, scored_background, mask=None):
    """`AnchorLabels` of anchor targets, whose labels count the classes without background.

    Where the background is one of the scores, the classes from there on stand one place later.

    Args:
        targets: From `as_targets`.
        classes: Number of scores, or None where the labels need not be places among them.
        background_class: Place of the background among the scores, or another number.
        scored_background: Whether the background must be one of the scores.
        mask: Booleans, which anchors count; None for all.

    Raises:
        ValueError: If a known label is no class, or the background has no score.
    """
    labels = wide_labels(targets["labels"])
    positive = ops.cast(targets["positive"], "bool")
    valid = ops.cast(targets.get("valid", ops.ones_like(positive)), "bool")
    has_score = _is_class(background_class, classes)
    if scored_background and not has_score:
        raise ValueError(
            f"Anchors of the background need a score: background_class must be one of the "
            f"{classes} places among the scores; received {background_class}."
        )
    valid = valid if mask is None else valid & mask
    positive = positive & valid
    count = None if classes is None else classes - has_score
    wrong = check_labels(_where(positive, labels, 0), count)
    if has_score:
        labels = labels + ops.cast(labels >= background_class, labels.dtype)
    return AnchorLabels(_where(positive, labels, background_class), positive, valid, wrong)


def from_labels(
    labels, classes, background_class, ignore_class, scored_background=False, mask=None
):
    """`AnchorLabels` of labels, one of which is that of background, and one of what is left out.

    Args:
        labels: Tensor of whole numbers in any type.
        classes: Number of scores, or None where the labels need not be places among them.
        background_class: Label of background.
        ignore_class: Label that is left out, or None.
        scored_background: Whether the background must be one of the scores.
        mask: Booleans, which anchors count; None for all.

    Raises:
        ValueError: If a known label that the mask leaves is none of these.
    """
    labels = wide_labels(labels)
    others = {ignore_class} if scored_background else {ignore_class, background_class}
    others = sorted(x for x in others if x is not None and not _is_class(x, classes))
    wrong = check_labels(labels if mask is None else _where(mask, labels, 0), classes, others)
    if ignore_class is None:
        valid = ops.ones_like(labels, "bool") if mask is None else mask
    else:
        valid = labels != ignore_class
        valid = valid if mask is None else valid & mask
    positive = valid & (labels != background_class)
    return AnchorLabels(_where(positive, labels, background_class), positive, valid, wrong)


def true_objects(labels, ignore=None):
    """Booleans: which rows of ground truth are objects, not padding or regions to ignore.

    Args:
        labels: Whole numbers `(…,)`, negative in padded rows.
        ignore: Of the same shape, true for regions to ignore; None for none.
    """
    real = labels >= 0
    return real if ignore is None else real & ~ops.cast(ignore, "bool")


def _is_class(label, classes):
    return label >= 0 and (classes is None or label < classes)


def _where(mask, labels, other):
    return ops.where(mask, labels, ops.cast(other, labels.dtype))
