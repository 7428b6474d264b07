"""Ground truth and detections of a batch as flat arrays, one row a box, for metrics."""

import numpy as np


def read_boxes(argument, batch, numbers=(), flags=(), optional=None):
    """The boxes of a batch, without padding.

    Args:
        argument: Name of `batch` in errors.
        batch: Dict of `"boxes"` `(images, N, 4)` and `"classes"` `(images, N)`, padded with a
            negative class, and more such arrays; or lists with an array for each image.
        numbers: Keys that must be there besides.
        flags: Keys that may be there, of true or false; false where they are not.
        optional: Further keys that may be there, each with the rank of its rows, 0 for a number
            and 1 for a box, or both.

    Returns:
        Number of images, and a dict of arrays with a row for each box: `"image"`, `"boxes"`,
        `"classes"` and what was asked for. Boxes stand in the order of the batch.

    Raises:
        ValueError: If something is missing, of a wrong shape, NaN, or a box has a negative side.
    """
    needed = ("boxes", "classes", *numbers)
    if not isinstance(batch, dict) or not all(key in batch for key in needed):
        found = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
        raise ValueError(f"{argument} must be a dict with {list(needed)}; received {found}.")
    classes = _per_image(f'{argument}["classes"]', batch["classes"])
    if any(each.ndim != 1 for each in classes) or not classes:
        raise ValueError(
            f'{argument}["classes"] must be (images, N), with one image or more; received shapes '
            f"{[each.shape for each in classes[:3]]} in the first images."
        )
    sizes = [len(each) for each in classes]
    joined = np.concatenate(classes)
    real = joined >= 0
    broken = joined[np.isnan(joined) | (real & (joined % 1 != 0))]
    if broken.size:
        raise ValueError(f'{argument}["classes"] must be whole numbers; received {broken[0]}.')
    rows = {
        "image": np.repeat(np.arange(len(sizes)), sizes)[real],
        "classes": joined[real].astype("int64"),
    }
    wanted = {"boxes": (1,), **dict.fromkeys((*numbers, *flags), (0,)), **(optional or {})}
    for key, allowed in wanted.items():
        if key in batch:
            rows[key] = _rows(f'{argument}["{key}"]', batch[key], sizes, allowed)[real]
            _check_values(f'{argument}["{key}"]', rows[key])
    for key in flags:
        rows[key] = rows[key].astype(bool) if key in rows else np.zeros(real.sum(), bool)
    return len(sizes), rows


def _rows(name, values, sizes, allowed):
    """The values of all boxes of a batch, padding included."""
    images = _per_image(name, values)
    rank = max([each.ndim - 1 for each in images if each.size], default=allowed[0])
    tail = (4,) * rank
    shapes = [each.shape if each.size else (len(each), *tail) for each in images]
    if rank not in allowed or shapes != [(size, *tail) for size in sizes]:
        kinds = " or ".join(("a number", "four numbers")[each] for each in allowed)
        raise ValueError(
            f"{name} must hold {kinds} for each class, padding included; received shapes "
            f"{shapes[:3]} in the first images, beside {sizes[:3]} classes."
        )
    return np.concatenate([each.reshape(shape) for each, shape in zip(images, shapes, strict=True)])


def _check_values(name, values):
    """Raises if a value is NaN, or a box has a negative side."""
    if values.ndim == 2:
        check_sides(name, values)
    elif np.isnan(values).any():
        raise ValueError(f"{name} must hold numbers; received NaN.")


def check_sides(name, boxes):
    """Raises if a box is not finite or has a negative side."""
    bad = ~(np.isfinite(boxes).all(-1) & (boxes[:, 2:] >= boxes[:, :2]).all(-1))
    if bad.any():
        raise ValueError(
            f"{name} must be finite (x1, y1, x2, y2) with x1 ≤ x2 and y1 ≤ y2; received "
            f"{boxes[bad][0].tolist()}. Convert other formats with "
            f"keras.utils.bounding_boxes.convert_format."
        )


def check_images(truths, detections):
    """Raises if the two are not of as many images."""
    if truths != detections:
        raise ValueError(
            f"y_true and y_pred must be of as many images; received {truths} and {detections}."
        )


def join(parts):
    """Batches as one: the number of images, and a dict of flat arrays."""
    images, rows = 0, []
    for count, each in parts:
        rows.append({**each, "image": each["image"] + images})
        images += count
    keys = rows[0] if rows else ()
    return images, {key: np.concatenate([each[key] for each in rows]) for key in keys}


def _per_image(name, values):
    """An array of float64 for each image."""
    if not isinstance(values, list | tuple) and np.ndim(values) == 0:
        raise ValueError(f"{name} must hold an array for each image; received {values}.")
    return [np.asarray(each, "float64") for each in values]
