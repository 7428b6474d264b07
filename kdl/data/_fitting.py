"""Bring images to one size, and their ground truth with them."""

import numpy as np

from kdl.data._truth import moved


def fit(image, truth, size, letterbox=False, fill=0, method="BILINEAR"):
    """An image and its ground truth at another size.

    Args:
        image: Array `(height, width, channels)`, uint8 or of floats.
        truth: Dict of arrays, see `kdl.data._truth`.
        size: `(height, width)`.
        letterbox: If the image keeps the ratio of its sides, in the upper left corner.
        fill: Value of the pixels below or beside it.
        method: Name of Pillow's resampling.

    Returns:
        The two.
    """
    height, width = image.shape[:2]
    new = _fitting(height, width, size) if letterbox else size
    if new != (height, width):
        image = resize_image(image, new, method)
        truth = moved(truth, scale=(new[1] / width, new[0] / height))
        if "masks" in truth:
            truth["masks"] = resize_masks(truth["masks"], new)
    if new != tuple(size):
        image = extended(image, size, (0, 0), fill)
        if "masks" in truth:
            masks = np.zeros((len(truth["masks"]), *size), bool)
            masks[:, : new[0], : new[1]] = truth["masks"]
            truth = {**truth, "masks": masks}
    return image, truth


def extended(image, size, corner, fill):
    """A larger image with this one at the corner `(top, left)`, and `fill` around it."""
    whole = np.empty((*size, image.shape[2]), image.dtype)
    whole[:] = fill
    (top, left), (height, width) = corner, image.shape[:2]
    whole[top : top + height, left : left + width] = image
    return whole


def resize_image(image, size, method="BILINEAR"):
    """An array `(height, width, channels)` at another size, by Pillow.

    Raises:
        ImportError: If Pillow is not installed.
        ValueError: If the image is neither bytes nor floats.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Resizing images needs Pillow; run: pip install pillow") from error
    if image.dtype != np.uint8 and image.dtype.kind != "f":
        raise ValueError(
            f"Expected images of uint8 or of floats to resize; received {image.dtype}. Convert "
            f"them."
        )
    method = Image.Resampling[method]
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize(size[::-1], method))
    planes = np.moveaxis(image if image.dtype == np.uint8 else image.astype("float32"), 2, 0)
    resized = [Image.fromarray(plane).resize(size[::-1], method) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized], -1).astype(image.dtype)


def resize_masks(masks, size):
    """Bool `(objects, height, width)` at another size, by the nearest pixel."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size, masks.shape[1:], strict=True)
    )
    return masks[:, rows[:, None], columns]


def _fitting(height, width, size):
    """The largest size within `size` that has the ratio of these sides."""
    scale = min(size[0] / height, size[1] / width)
    sides = (round(height * scale), round(width * scale))
    return tuple(min(max(side, 1), most) for side, most in zip(sides, size, strict=True))
