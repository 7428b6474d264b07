"""Augmentation by the layers of Keras and KerasCV."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdl.data._truth import areas

_UNSEEDED = "draws from outside its seed, so that no run could be repeated"
_NEEDS_LABELS = "mixes images but not the labels of this data set; use kdl.data.Mixup"
# What Keras 3.15 does wrong; the tests say when it no longer does.
_REFUSED = {
    "AugMix": _UNSEEDED,
    "CutMix": _NEEDS_LABELS,
    "MixUp": _NEEDS_LABELS,
    "RandomElasticTransform": f"on PyTorch {_UNSEEDED}",
    "RandomGrayscale": "leaves its seed out of its config, so that no run could be repeated",
}
_REFUSED_WITH_BOXES = {
    "MaxNumBoundingBoxes": "changes the number of boxes alone; use max_boxes of DetectionDataset",
    "RandAugment": "moves boxes in another order than images",
    "RandomCrop": "moves boxes along the wrong axes",
}


class Augmentation:
    """A list of Keras's preprocessing layers as `augment` of kdl's data sets.

    The layers run on NumPy arrays of any backend, on the CPU, in float32 whatever the dtype
    policy, and draw from the generator that they are given: seed, epoch and batch decide what comes
    out, in any number of threads. Each call makes the layers anew from their configs with new
    seeds; what has no seed, such as `Rescaling`, runs as it is.

    The layers work on channels last. Colors depend on the range of values: for images in 0 … 1
    pass `value_range=(0, 1)`. `keras.layers.RandomCrop` cuts all images of a batch at one place.

    Layers of `keras_cv` work too, with any backend, on images alone: TensorFlow computes them,
    and its global seed is set before each.

    Args:
        layers: List of layers; `keras.layers.Pipeline` and `keras.Sequential` are opened.
        labels: What else is changed as the images are: `"masks"`, the labels of pixels
            `(N, height, width)` or `(N, height, width, 1)`; `"boxes"`, dicts of `"boxes"`
            `(N, M, 4)`, xyxy in pixels, and `"labels"` (or `"classes"`) `(N, M)`, padded with −1,
            where boxes that have left the image become padding; in the dicts `"visible_boxes"`
            `(N, M, 4)`, `"masks"` bool `(N, M, height, width)`, cut at the moved boxes, and
            `"area"` `(N, M)` are changed, too; None (default) for nothing.

    Attributes:
        takes_labels: Whether it is called with `(images, labels, rng)` and gives both; else with
            `(images, rng)`.

    Raises:
        ValueError: If `labels` is unknown, or a layer is not one, can't be made anew, or does
            something wrong in Keras 3.15: the message tells what.

    Example:
        >>> import keras, numpy as np
        >>> from kdl.data import ArrayDataset
        >>> moves = Augmentation([keras.layers.RandomFlip("horizontal")])
        >>> images = np.arange(8, dtype="float32").reshape(2, 1, 4, 1)
        >>> dataset = ArrayDataset(images, np.arange(2), augment=moves)
        >>> x, y = dataset[0]
        >>> x.shape
        (2, 1, 4, 1)
    """

    def __init__(self, layers: Any, labels: str | None = None) -> None:
        if labels not in (None, "masks", "boxes"):
            raise ValueError(f'labels must be "masks", "boxes" or None; received {labels!r}.')
        self.labels = labels
        self.layers = list(_opened(layers))
        for layer in self.layers:
            _check(layer, labels)
            _made_anew(layer, 0)

    @property
    def takes_labels(self) -> bool:
        """Tell if labels change as well."""
        return self.labels is not None

    def __call__(self, images: np.ndarray, *labels_and_rng: Any) -> Any:
        """Changed copies: of images for `(images, rng)`, of both for `(images, labels, rng)`.

        Args:
            images: `(N, height, width, channels)`. Floats keep their dtype, others become float32.
            *labels_and_rng: Labels where `takes_labels`, then a `numpy.random.Generator`.
        """
        if len(labels_and_rng) != 1 + self.takes_labels:
            expected = "(images, labels, rng)" if self.takes_labels else "(images, rng)"
            raise ValueError(
                f"Augmentation with labels={self.labels!r} must be called with {expected}; "
                f"received {1 + len(labels_and_rng)} arguments."
            )
        *labels, rng = labels_and_rng
        seeds = rng.integers(1, 2**31 - 1, len(self.layers)).tolist()
        dtype = images.dtype if images.dtype.kind == "f" else np.dtype("float32")
        changes: dict[str | None, Callable] = {
            None: _change_images,
            "masks": _change_masks,
            "boxes": _change_boxes,
        }
        with keras.device("cpu"):
            single = images.astype("float32")
            images, *labels = changes[self.labels](self.layers, seeds, single, *labels)
        images = images.astype(dtype)
        return (images, *labels) if self.takes_labels else images


def _change_images(layers, seeds, images):
    for layer, seed in zip(layers, seeds, strict=True):
        images = _run(_made_anew(layer, seed), seed, images)
    return (images,)


def _change_masks(layers, seeds, images, masks):
    changed = masks if masks.ndim == 4 else masks[..., None]
    changed = changed.astype("float32")
    for layer, seed in zip(layers, seeds, strict=True):
        changed = _moved_masks(layer, seed, images, changed)
        images = _run(_made_anew(layer, seed), seed, images)
    return images, changed.reshape(changed.shape[: masks.ndim]).astype(masks.dtype)


def _moved_masks(layer, seed, images, masks):
    """Masks `(N, height, width, channels)`, moved as the layer moves images with this seed."""
    if not hasattr(layer, "transform_segmentation_masks"):
        return masks
    # By a layer of their own with the same seed: on PyTorch, Keras overwrites the matrix of
    # a rotation as it uses it, and would turn the masks elsewhere.
    copied = _made_anew(layer, seed)
    move = copied.get_random_transformation(keras.ops.convert_to_tensor(images))
    masks = keras.ops.convert_to_tensor(masks)
    return _numpy(copied.transform_segmentation_masks(masks, move))


def _change_boxes(layers, seeds, images, truth):
    key = "labels" if "labels" in truth else "classes"
    labels, before = truth[key], truth["boxes"]
    names = [name for name in ("boxes", "visible_boxes") if name in truth]
    boxes = np.concatenate([truth[name].astype("float32") for name in names], 1)
    # Of an object that is hidden there is no visible part that could move.
    seen = np.tile(labels >= 0, len(names)) & (boxes[..., 2:] > boxes[..., :2]).all(-1)
    classes = np.where(seen, np.tile(labels, len(names)), -1)
    masks = truth.get("masks")
    if masks is not None:
        masks = np.moveaxis(masks, 1, -1).astype("float32")
    for layer, seed in zip(layers, seeds, strict=True):
        if masks is not None:
            masks = _moved_masks(layer, seed, images, masks)
        anew = _made_anew(layer, seed, bounding_box_format="xyxy")
        if not hasattr(anew, "transform_bounding_boxes"):
            images = _run(anew, seed, images)
            continue
        data = {"images": images, "bounding_boxes": {"boxes": boxes, "labels": classes}}
        data = keras.tree.map_structure(_numpy, anew(data, training=True))
        images, boxes = data["images"], data["bounding_boxes"]["boxes"]
    there = seen & (boxes[..., 2:] > boxes[..., :2]).all(-1)
    boxes = np.where(there[..., None], boxes, -1).astype(before.dtype)
    changed = dict(zip(names, np.split(boxes, len(names), 1), strict=True))
    there = there[:, : labels.shape[1]]
    if len(names) > 1:
        changed["visible_boxes"][~there] = -1
    if masks is not None:
        changed["masks"] = _within(np.moveaxis(masks, -1, 1) > 0.5, changed["boxes"])
    if "area" in truth:
        growth = areas(changed["boxes"]) / np.maximum(areas(before), 1e-9)
        changed["area"] = np.where(there, truth["area"] * growth, -1).astype(truth["area"].dtype)
    return images, {**truth, **changed, key: np.where(there, labels, -1)}


def _within(masks, boxes):
    """Masks without what lies outside of their boxes, such as the reflection of an object."""
    height, width = masks.shape[2:]
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)[..., None]
    rows, columns = np.arange(height), np.arange(width)
    rows = (rows >= np.floor(top)) & (rows < np.ceil(bottom))
    columns = (columns >= np.floor(left)) & (columns < np.ceil(right))
    return masks & rows[..., None] & columns[..., None, :]


def _run(layer, seed, images):
    if _is_keras_cv(layer):
        import tensorflow as tf

        tf.random.set_seed(seed)
    return _numpy(layer(images, training=True))


def _made_anew(layer, seed, **changes):
    """The layer again, with another seed; layers without one as they are."""
    config = layer.get_config()
    changes |= {"seed": seed, "data_format": "channels_last", "dtype": "float32"}
    if "seed" not in config and "data_format" not in config:
        return layer
    config |= {key: value for key, value in changes.items() if key in config}
    if hasattr(layer, "bounding_box_format") and "bounding_box_format" in changes:
        config["bounding_box_format"] = changes["bounding_box_format"]
    try:
        return type(layer).from_config(config)
    except TypeError as error:
        raise ValueError(
            f"{type(layer).__name__} can't be made anew from its own config, so it can't be "
            f"repeated: {str(error).splitlines()[0]}"
        ) from error


def _numpy(tensor):
    # KerasCV gives TensorFlow's tensors whatever the backend.
    return tensor.numpy() if hasattr(tensor, "numpy") else keras.ops.convert_to_numpy(tensor)


def _opened(layers):
    for layer in layers:
        if isinstance(layer, keras.layers.Pipeline | keras.Sequential):
            yield from _opened(layer.layers)
        else:
            yield layer


def _check(layer, labels):
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(f"layers must be a list of Keras layers; it holds {layer!r}.")
    name = type(layer).__name__
    if _is_keras_cv(layer):
        reason = labels and "of KerasCV changes images alone; use labels=None, or Keras's layers"
    elif type(layer).__module__.startswith("keras."):
        reason = _REFUSED.get(name) or (labels == "boxes" and _REFUSED_WITH_BOXES.get(name))
    else:
        reason = None
    if reason:
        raise ValueError(f"{name} {reason}.")


def _is_keras_cv(layer):
    return type(layer).__module__.startswith("keras_cv.")
