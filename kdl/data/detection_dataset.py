"""Images with boxes and masks as a data set for `fit`."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdl._checks import check_integer
from kdl._typing import ArrayLike
from kdl._warn import warn
from kdl._words import counted
from kdl.data._batches import Batches
from kdl.data._entries import check_size
from kdl.data._fitting import fit
from kdl.data._truth import FORMS, areas, padded, select
from kdl.data.augmentation import Augmentation
from kdl.data.detection_samples import DetectionSamples
from kdl.data.input_spec import InputSpec


class DetectionDataset(Batches):
    """Batches of images and their objects for detectors, of one static shape.

    Batches are `(images, targets)`: float32 `(batch, height, width, channels)`, and a dict of
    arrays as `kdl.data.read_coco` returns it, with as many rows for each image, of which those
    without an object have the label −1. Images are brought to one size, and boxes and masks with
    them; bytes are divided by 255, or become what `spec` says, and floats stay as they are.

    Order and epochs are those of `kdl.data.ArrayDataset`: what is served follows from `(seed,
    epoch)` alone, `epoch` moves on by itself after a full pass and may be set, and for repeatable
    runs `shuffle=False` is passed to `fit`.

    Augmentation is of two kinds, in one list. Functions of `(image, target, rng)`, such as
    `kdl.data.RandomIoUCrop`, `RandomExpand` and `RandomHorizontalFlip`, change one image before it
    is brought to its size: `target` is a dict of arrays with a row for each object, without
    padding, and `rng` a `numpy.random.Generator` that follows from seed, epoch and image. Keras's
    layers change the batch afterwards, as `kdl.data.Augmentation` with `labels="boxes"` explains:
    `RandomFlip`, `RandomRotation`, `RandomTranslation`, `RandomZoom`, `RandomPerspective` and those
    of colors are right for boxes, visible boxes and masks; `RandomCrop` and `RandAugment` are
    refused, as Keras moves boxes wrongly there.

    Images are resized anew for each batch. Where they are much larger than `size`, let the reader
    bring them to about that size: functions of one image then have less to do, too.

    Args:
        images: uint8 or float images `(N, height, width, channels)`, or a list of images of
            different sizes; or what `kdl.data.read_coco`, `read_voc` or `digit_scenes` returns, the
            pair of images and targets.
        targets: Dict of arrays with a row for each image and object: `"boxes"` `(N, M, 4)`, xyxy in
            pixels of the images, `"labels"` `(N, M)`, `0 … K − 1` or −1 for padding, and what else
            there is, such as `"ignore"`, `"visible_boxes"` and `"masks"`
            `(N, M, height, width)`; or lists of such arrays without padding, one an image. None
            (default) if `images` is the pair.
        size: Height and width of the batches' images, one integer or two. Defaults to that of
            `spec`, or of the images if all are alike.
        batch_size: Images in a batch. Defaults to 8.
        shuffle: Whether to shuffle; with `False` the order is that of the images.
        seed: Non-negative integer.
        drop_remainder: Whether to leave out a last batch of fewer images.
        augmentation: A function or layer, or a list of them, as above. None (default) changes
            nothing.
        letterbox: If images keep the ratio of their sides, in the upper left corner of black ones,
            so that boxes go back by one factor. Defaults to False: each side by itself.
        max_boxes: Rows of each image. Defaults to the most objects that one has. Of those that have
            more the largest objects are kept, which a warning tells.
        class_names: Names of the classes in the order of the labels. Defaults to those that the
            reader found, or None.
        spec: `kdl.data.InputSpec` of the images, which then are bytes, or None (default).

    Attributes:
        size: `(height, width)` of the batches' images.
        max_boxes: Rows of each image.
        num_samples: N.
        epoch: Number of the pass, from 0; may be set.

    Raises:
        ValueError: If images and targets differ in number, boxes or labels are none, sizes differ
            and none is told, or an argument is out of range.
        ImportError: If images are to be resized and Pillow is not installed.

    Example:
        >>> from kdl.data import RandomHorizontalFlip, digit_scenes
        >>> scenes = digit_scenes(5, size=64, clutter=4, digits_per_scene=(1, 3))
        >>> dataset = DetectionDataset(
        ...     scenes, size=32, batch_size=2, max_boxes=4, augmentation=[RandomHorizontalFlip()]
        ... )
        >>> images, targets = dataset[0]
        >>> images.shape, targets["boxes"].shape, sorted(targets)
        ((2, 32, 32, 1), (2, 4, 4), ['boxes', 'ignore', 'labels', 'visible_boxes'])
    """

    def __init__(
        self,
        images: ArrayLike | Sequence[ArrayLike] | DetectionSamples | tuple,
        targets: dict[str, Any] | None = None,
        size: int | tuple[int, int] | None = None,
        batch_size: int = 8,
        shuffle: bool = True,
        seed: int = 0,
        drop_remainder: bool = False,
        augmentation: Callable | Sequence[Callable] | None = None,
        letterbox: bool = False,
        max_boxes: int | None = None,
        class_names: Sequence[str] | None = None,
        spec: InputSpec | None = None,
    ) -> None:
        if targets is None:
            class_names = class_names or getattr(images, "class_names", None)
            images, targets = _pair(images)
        self._images, self._truths = _checked(images, targets)
        self.size = _size(self._images, size, spec)
        self._of_image, layers = _steps(augmentation)
        self.letterbox = bool(letterbox)
        self.max_boxes = _rows(self._truths, max_boxes)
        self.class_names = None if class_names is None else list(class_names)
        _check_labels(self._truths, self.class_names)
        self.spec = spec
        batch_steps = [Augmentation(layers, labels="boxes")] if layers else None
        super().__init__(len(self._images), batch_size, shuffle, seed, drop_remainder, batch_steps)

    def _take(self, rows):
        return self._batch(self._sample(row) for row in rows)

    def _serve(self, rows):
        return self._batch(self._drawn(row) for row in rows)

    def _batch(self, samples):
        fitted = [fit(*sample, self.size, self.letterbox) for sample in samples]
        images = np.stack([self._normalized(image) for image, _ in fitted])
        truths = [_largest(truth, self.max_boxes) for _, truth in fitted]
        return images, padded(truths, self.max_boxes)

    def _sample(self, row):
        """An image and its objects as they are kept."""
        return np.asarray(self._images[row]), self._truths[row]

    def _drawn(self, row):
        """An image and its objects after the functions that change one image."""
        image, truth = self._sample(row)
        # One number more than the seeds of orders and batches have.
        rng = np.random.default_rng([self.seed, self.epoch, int(row), 1])
        for step in self._of_image:
            image, truth = step(image, truth, rng)
        return image, truth

    def _normalized(self, image):
        if self.spec is not None:
            bgr = self.spec.color == "bgr"
            return self.spec.normalize(image[..., ::-1] if bgr else image)
        return image.astype("float32") / (255 if image.dtype == np.uint8 else 1)


class _Truths(Sequence):
    """The objects of each image, without padding; masks are looked up as they are asked for."""

    def __init__(self, targets, count):
        self._masks = targets.get("masks")
        labels = [np.asarray(targets["labels"][row]) for row in range(count)]
        self._exists = [of_image >= 0 for of_image in labels]
        self._rows = [
            {
                key: _values(key, values[row], exists)
                for key, values in targets.items()
                if key != "masks"
            }
            for row, exists in enumerate(self._exists)
        ]

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, row):
        truth = dict(self._rows[row])
        if self._masks is None:
            return truth
        masks, exists = np.asarray(self._masks[row], bool), self._exists[row]
        if len(masks) == len(exists):  # padded as the labels are
            masks = masks[exists]
        if len(masks) != exists.sum() or masks.ndim != 3:
            raise ValueError(
                f'targets["masks"] must hold (objects, height, width) for each image; for image '
                f"{row} with {exists.sum()} objects it holds {masks.shape}."
            )
        return {**truth, "masks": masks}

    def boxes(self, row):
        return self._rows[row]["boxes"]

    def labels(self, row):
        return self._rows[row]["labels"]


def _values(key, values, exists):
    """The values of an image's objects."""
    values = np.asarray(values)
    if len(values) != len(exists):
        raise ValueError(
            f'targets["{key}"] must have a row for each label of an image, {len(exists)}; received '
            f"{len(values)}."
        )
    dtype, row, _ = FORMS.get(key, (values.dtype, values.shape[1:], 0))
    return values[exists].astype(dtype).reshape(exists.sum(), *row)


def _pair(images):
    if isinstance(images, tuple) and len(images) == 2:
        return images
    raise ValueError(
        f"Expected the pair (images, targets), such as of kdl.data.read_coco, or images and "
        f"targets; received {type(images).__name__} alone."
    )


def _checked(images, targets):
    """Images and `_Truths`, or ValueError."""
    needed = {"boxes", "labels"}
    if not isinstance(targets, dict) or not needed <= set(targets):
        held = sorted(targets) if isinstance(targets, dict) else type(targets).__name__
        raise ValueError(f'targets must be a dict with "boxes" and "labels"; received {held}.')
    counts = {"images": len(images), **{key: len(values) for key, values in targets.items()}}
    if len(set(counts.values())) > 1 or not len(images):
        raise ValueError(
            f"Expected as many images as rows of all targets, one or more; received {counts}."
        )
    for number in range(len(images)):
        _check_image(number, np.asarray(images[number]))
    truths = _Truths(targets, len(images))
    for number in range(len(images)):
        _check_boxes(number, truths.boxes(number), np.shape(images[number]))
    _check_unit(truths)
    return images, truths


def _check_image(number, image):
    if image.ndim != 3 or not (image.dtype == np.uint8 or image.dtype.kind == "f"):
        raise ValueError(
            f"Expected images (height, width, channels) of uint8 or floats; image {number} is "
            f"{image.dtype} of shape {image.shape}."
        )


def _check_boxes(number, boxes, shape):
    finite = np.isfinite(boxes).all(-1)
    bad = ~finite | (boxes[:, 2:] <= boxes[:, :2]).any(-1)
    if bad.any():
        raise ValueError(
            f'targets["boxes"] must be finite (x1, y1, x2, y2) with x1 < x2 and y1 < y2; image '
            f"{number} has {boxes[bad][0].tolist()}. Convert other formats with "
            f"keras.utils.bounding_boxes.convert_format, and leave empty boxes out."
        )
    outside = (boxes[:, :2] >= shape[1::-1]).any(-1) | (boxes[:, 2:] <= 0).any(-1)
    if outside.any():
        raise ValueError(
            f"Box {boxes[outside][0].tolist()} of image {number} lies outside of it: it has the "
            f"shape {shape}. Boxes are (x1, y1, x2, y2) in pixels."
        )


def _check_unit(truths):
    largest = max(truths.boxes(row).max(initial=0) for row in range(len(truths)))
    if 0 < largest <= 1:
        raise ValueError(
            f"No box reaches beyond {largest:.3g}: they look like shares of the sides of images. "
            f"Multiply them by width and height: boxes are (x1, y1, x2, y2) in pixels."
        )


def _check_labels(truths, class_names):
    most = max((truths.labels(row).max(initial=-1) for row in range(len(truths))), default=-1)
    if class_names is not None and most >= len(class_names):
        raise ValueError(
            f"Expected labels 0 … {len(class_names) - 1}, as there are {len(class_names)} "
            f"class_names; received {most}."
        )


def _size(images, size, spec):
    """`(height, width)` of the batches."""
    if spec is not None:
        if size is not None and check_size(size) != spec.size:
            raise ValueError(f"size must be that of spec, {spec.size}; received {size!r}.")
        if np.asarray(images[0]).dtype != np.uint8:
            raise ValueError("With spec, images must be uint8, which it scales; received floats.")
        return spec.size
    if size is not None:
        return check_size(size)
    sizes = sorted({np.shape(image)[:2] for image in images})
    if len(sizes) > 1:
        raise ValueError(
            f"The images have {len(sizes)} sizes, such as {sizes[0]} and {sizes[-1]}: pass size, "
            f"height and width to which they are brought."
        )
    return sizes[0]


def _steps(augmentation):
    """The functions that change one image, and the layers that change a batch."""
    if augmentation is None:
        return [], []
    steps = list(augmentation) if isinstance(augmentation, list | tuple) else [augmentation]
    layers = [step for step in steps if isinstance(step, keras.layers.Layer)]
    functions = [step for step in steps if not isinstance(step, keras.layers.Layer)]
    unknown = [step for step in functions if not callable(step) or isinstance(step, Augmentation)]
    if unknown:
        raise ValueError(
            f"augmentation must hold functions of (image, target, rng) and Keras layers; received "
            f"{unknown[0]!r}."
        )
    return functions, layers


def _rows(truths, max_boxes):
    """Number of rows of each image; warns if there are more objects."""
    counts = [len(truths.labels(row)) for row in range(len(truths))]
    if max_boxes is None:
        return max(*counts, 1)
    max_boxes = check_integer("max_boxes", max_boxes)
    over = sum(count > max_boxes for count in counts)
    if over:
        warn(
            f"{counted(over, 'image')} of {len(counts)} have more than max_boxes={max_boxes} "
            f"objects, up to {max(counts)}: only the largest are kept, the others become "
            f"background."
        )
    return max_boxes


def _largest(truth, most):
    """The objects, or the largest of them in their order."""
    if len(truth["labels"]) <= most:
        return truth
    rows = np.argsort(-areas(truth["boxes"]), kind="stable")[:most]
    return select(truth, np.sort(rows))
