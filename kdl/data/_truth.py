"""Ground truth of one image: a dict of arrays with a row for each object, and what is done to it.

`"boxes"` float32 `(objects, 4)`, xyxy in pixels, and `"labels"` int64 `(objects,)` are always
there; the other keys of `FORMS` and `"masks"` bool `(objects, height, width)` may be.
"""

import numpy as np

# Key → dtype, shape of a row, and what stands in a row that is padding.
FORMS = {
    "boxes": ("float32", (4,), -1),
    "labels": ("int64", (), -1),
    "visible_boxes": ("float32", (4,), -1),
    "visibility": ("float32", (), -1),
    "area": ("float32", (), -1),
    "ignore": ("bool", (), False),
    "crowd": ("bool", (), False),
}
_OF_BOXES = ("boxes", "visible_boxes")


def truth_of(rows, keys):
    """The dict of arrays of some objects.

    Args:
        rows: For each object a dict with these keys.
        keys: Some of `FORMS`.
    """
    return {
        key: np.array([row[key] for row in rows], FORMS[key][0]).reshape(len(rows), *FORMS[key][1])
        for key in keys
    }


def padded(truths, most):
    """Dicts of several images as one: arrays `(images, most, …)`, label and box −1 in padding.

    Args:
        truths: Dicts with the same keys; where there are `"masks"`, images are of one size.
        most: Rows of each image, at least as many as its objects.
    """
    joined = {}
    for key in truths[0]:
        first = truths[0][key]
        dtype, row, empty = FORMS.get(key, (first.dtype, first.shape[1:], 0))
        joined[key] = np.full((len(truths), most, *row), empty, dtype)
        for place, truth in enumerate(truths):
            joined[key][place, : len(truth[key])] = truth[key]
    return joined


def select(truth, rows):
    """The objects that an index or a boolean array chooses."""
    return {key: values[rows] for key, values in truth.items()}


def moved(truth, scale=(1.0, 1.0), offset=(0.0, 0.0)):
    """The truth of an image that was stretched by `scale`, and then moved by `offset`, both (x, y).

    Masks stay as they are. A box without area, such as of an object of which nothing is visible,
    stays too.
    """
    truth = dict(truth)
    for key in _OF_BOXES:
        if key in truth:
            boxes = truth[key]
            changed = boxes * np.array([*scale, *scale]) + np.array([*offset, *offset])
            truth[key] = np.where(_has_area(boxes), changed, boxes).astype("float32")
    if "area" in truth:
        truth["area"] = truth["area"] * np.float32(scale[0] * scale[1])
    return truth


def flipped(truth, width):
    """The truth of an image of this width that was flipped from left to right."""
    truth = dict(truth)
    for key in _OF_BOXES:
        if key in truth:
            boxes = truth[key]
            mirrored = np.stack(
                [width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1
            )
            truth[key] = np.where(_has_area(boxes), mirrored, boxes).astype("float32")
    if "masks" in truth:
        truth["masks"] = truth["masks"][:, :, ::-1]
    return truth


def cropped(truth, left, top, width, height):
    """The truth of a part of an image: boxes and masks are cut, objects that are outside left out.

    The area of an object shrinks as its box does, or as its mask where it has one.
    """
    inside = moved(truth, offset=(-left, -top))
    full = truth["boxes"]
    for key in _OF_BOXES:
        if key in inside:
            boxes = clipped(inside[key], height, width)
            inside[key] = np.where(_has_area(boxes), boxes, np.float32(-1))
    stays = _has_area(inside["boxes"])[:, 0]
    if "masks" in inside:
        inside["masks"] = inside["masks"][:, top : top + height, left : left + width]
        stays &= inside["masks"].any((1, 2))
    if "area" in inside:
        inside["area"] = (inside["area"] * _left(truth, inside, full)).astype("float32")
    return select(inside, stays)


def clipped(boxes, height, width):
    """Boxes, cut at the borders of an image."""
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def _left(before, after, full):
    """Share of each object that a crop left."""
    if "masks" in before:
        whole, part = (truth["masks"].sum((1, 2)) for truth in (before, after))
    else:
        whole, part = areas(full), areas(after["boxes"])
    return part / np.maximum(whole, 1e-9)


def areas(boxes):
    """Area of each box; a negative side counts as 0."""
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(-1)


def _has_area(boxes):
    return (boxes[:, 2:] > boxes[:, :2]).all(-1, keepdims=True)
