"""Ground truth and detections of a batch as flat arrays, one row a box, for metrics."""

import numpy as np

from kdl._deprecation import renamed_keys
from kdl.metrics._mask_runs import read_masks

_BEFORE = {"classes": "labels", "confidence": "scores"}


def read_boxes(argument, batch, numbers=(), flags=(), optional=None, geometry="boxes"):
    """The boxes of a batch, or the masks in their place, without padding.

    Args:
        argument: Name of `batch` in errors.
        batch: Dict of `"boxes"` `(images, N, 4)` and `"labels"` `(images, N)`, padded with a
            negative label, and more such arrays; or lists with an array for each image.
        numbers: Keys that must be there besides.
        flags: Keys that may be there, of true or false; false where they are not.
        optional: Further keys that may be there, each with the rank of its rows, 0 for a number
            and 1 for a box, or both.
        geometry: `"boxes"`, or `"masks"` for these in their place, as of `read_masks`.

    Returns:
        Number of images, and a dict of arrays with a row for each box: `"image"`, `"labels"`,
        `"boxes"`, or `"masks"` and their `"size"`, and what was asked for. Rows stand in the order
        of the batch.

    Raises:
        ValueError: If something is missing, of a wrong shape, NaN, or a box has a negative side, or
            a mask is broken.
    """
    needed = (geometry, "labels", *numbers)
    batch = renamed_keys(batch, _BEFORE) if isinstance(batch, dict) else batch
    if not isinstance(batch, dict) or not all(key in batch for key in needed):
        received = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
        raise ValueError(f"{argument} must be a dict with {list(needed)}; received {received}.")
    labels = _per_image(f'{argument}["labels"]', batch["labels"])
    if any(array.ndim != 1 for array in labels) or not labels:
        raise ValueError(
            f'{argument}["labels"] must be (images, N), with one image or more; received shapes '
            f"{[array.shape for array in labels[:3]]} in the first images."
        )
    sizes = [len(array) for array in labels]
    joined = np.concatenate(labels)
    real = joined >= 0
    broken = joined[np.isnan(joined) | (real & (joined % 1 != 0))]
    if broken.size:
        raise ValueError(f'{argument}["labels"] must be whole numbers; received {broken[0]}.')
    rows = {
        "image": np.repeat(np.arange(len(sizes)), sizes)[real],
        "labels": joined[real].astype("int64"),
    }
    if geometry == "masks":
        rows["masks"], rows["size"] = read_masks(f'{argument}["masks"]', batch["masks"], labels)
    required = {"boxes": (1,)} if geometry == "boxes" else {}
    required |= {**dict.fromkeys((*numbers, *flags), (0,)), **(optional or {})}
    for key, allowed in required.items():
        if key in batch:
            rows[key] = _rows(f'{argument}["{key}"]', batch[key], sizes, allowed)[real]
            _check_values(f'{argument}["{key}"]', rows[key])
    for key in flags:
        rows[key] = rows[key].astype(bool) if key in rows else np.zeros(real.sum(), bool)
    return len(sizes), rows


def _rows(name, values, sizes, allowed):
    """The values of all boxes of a batch, padding included."""
    images = _per_image(name, values)
    rank = max(
        [array.ndim - 1 for array in images if array.size],
        default=allowed[0],
    )
    tail = (4,) * rank
    shapes = [array.shape if array.size else (len(array), *tail) for array in images]
    if rank not in allowed or shapes != [(size, *tail) for size in sizes]:
        kinds = " or ".join(("a number", "four numbers")[kind] for kind in allowed)
        raise ValueError(
            f"{name} must hold {kinds} for each label, padding included; received shapes "
            f"{shapes[:3]} in the first images, beside {sizes[:3]} labels."
        )
    return np.concatenate(
        [array.reshape(shape) for array, shape in zip(images, shapes, strict=True)]
    )


def _check_values(name, values):
    """Raise if a value is NaN, or a box has a negative side."""
    if values.ndim == 2:
        check_sides(name, values)
    elif np.isnan(values).any():
        raise ValueError(f"{name} must hold numbers; received NaN.")


def check_sides(name, boxes):
    """Raise if a box is not finite or has a negative side."""
    bad = ~(np.isfinite(boxes).all(-1) & (boxes[:, 2:] >= boxes[:, :2]).all(-1))
    if bad.any():
        raise ValueError(
            f"{name} must be finite (x1, y1, x2, y2) with x1 ≤ x2 and y1 ≤ y2; received "
            f"{boxes[bad][0].tolist()}. Convert other formats with "
            f"keras.utils.bounding_boxes.convert_format."
        )


def check_images(truths, detections):
    """Raise if the two are not of as many images."""
    if truths != detections:
        raise ValueError(
            f"y_true and y_pred must be of as many images; received {truths} and {detections}."
        )


def check_threshold(threshold):
    """Raise if a least overlap is none."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0, up to 1; received {threshold}.")


def join(parts):
    """Batches as one: the number of images, and a dict of flat arrays."""
    images, rows = 0, []
    for count, table in parts:
        rows.append({**table, "image": table["image"] + images})
        images += count
    keys = rows[0] if rows else ()
    return images, {key: np.concatenate([table[key] for table in rows]) for key in keys}


def _per_image(name, values):
    """An array of float64 for each image."""
    if not isinstance(values, list | tuple) and np.ndim(values) == 0:
        raise ValueError(f"{name} must hold an array for each image; received {values}.")
    return [np.asarray(array, "float64") for array in values]
