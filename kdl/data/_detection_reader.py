"""What readers of detection data sets have in common: images, their objects, what is wrong."""

import collections

import numpy as np

from kdl._warn import warn
from kdl._words import counted
from kdl.data._entries import check_size, rgb_array
from kdl.data._fitting import fit
from kdl.data._object_masks import MaskList, mask_of_segmentation
from kdl.data._truth import clipped, padded, truth_of
from kdl.data.detection_samples import DetectionSamples

# Some count pixels from 1, and some round.
_BEYOND = 1.0
_NAMED_IN_WARNING = 3


class DetectionReader:
    """Collects the images of a data set with their objects, brought to one size or not.

    Args:
        entries: `Entries` of the data set.
        keys: Keys of the truth, some of `_truth.FORMS`.
        size: Height and width of all images, one integer or two; None for their own.
        letterbox: If images keep the ratio of their sides.
        masks: If objects have masks.
    """

    def __init__(self, entries, keys, size=None, letterbox=False, masks=False):
        self.entries = entries
        self._keys = keys
        self._size = None if size is None else check_size(size)
        self._letterbox = letterbox
        self._masks = MaskList() if masks else None
        self._images, self._truths, self._names = [], [], []
        self._skipped, self._reasons, self._clipped = [], collections.Counter(), 0

    def add(self, name, objects, declared=None):
        """Reads an image.

        Args:
            name: Its file.
            objects: For each object a dict of the keys, and of `"what"`, which names it, and
                `"segmentation"` if masks are read, as COCO writes it.
            declared: `(height, width)` that the annotations tell, or None.

        Raises:
            ValueError: If the file cannot be read, is of another size, or a mask is none.
        """
        image = rgb_array(self.entries.open_image(name))
        size = image.shape[:2]
        self._check_size_of(name, size, declared)
        rows = [row for row in (self._row(item, name, size) for item in objects) if row]
        truth = truth_of(rows, self._keys)
        if self._masks is not None:
            masks = [row["mask"] for row in rows]
            truth["masks"] = np.array(masks, bool).reshape(len(rows), *size)
        if self._size is not None:
            # Smaller ones are means of boxes of pixels, as those of the other readers.
            image, truth = fit(image, truth, self._size, self._letterbox, method="BOX")
        if self._masks is not None:
            self._masks.append(truth.pop("masks"))
        self._images.append(image)
        self._truths.append(truth)
        self._names.append(name)

    def samples(self, class_names, **numbers):
        """`DetectionSamples` of all images; one warning tells what was left out."""
        most = max(max(len(truth["labels"]) for truth in self._truths), 1)
        targets = padded(self._truths, most)
        if self._masks is not None:
            targets["masks"] = self._masks
        self._warn()
        sizes = {image.shape for image in self._images}
        images = np.stack(self._images) if len(sizes) == 1 else self._images
        return DetectionSamples(images, targets, class_names, self._names, self._skipped, **numbers)

    def _check_size_of(self, name, size, declared):
        if declared and max(abs(a - b) for a, b in zip(size, declared, strict=True)) > 1:
            raise ValueError(
                f"{name} in {self.entries.path} has {size[1]} × {size[0]} pixels (width × height, "
                f"upright), its annotations are of {declared[1]} × {declared[0]}. Boxes would not "
                f"fit: use the images that were annotated, or correct the size there."
            )

    def _row(self, item, name, size):
        """The object as a row of the truth, or None if it is left out."""
        box = np.array(item["boxes"], "float64")
        cut = clipped(box, *size)
        reason = _reason(box, cut)
        mask = None
        if reason is None and self._masks is not None:
            mask = self._mask(item, name, size)
            reason = "without a mask" if mask is None or not mask.any() else None
        if reason is not None:
            self._reasons[reason] += 1
            self._skipped.append(f"{item['what']} of {name}: {reason}, {box.tolist()}")
            return None
        self._clipped += np.abs(box - cut).max() > _BEYOND
        row = {**item, "boxes": cut, "mask": mask}
        if "visible_boxes" in self._keys:
            visible = clipped(np.array(item["visible_boxes"], "float64"), *size)
            row["visible_boxes"] = visible if (visible[2:] > visible[:2]).all() else [-1] * 4
        return row

    def _mask(self, item, name, size):
        if not item["segmentation"]:
            return None
        try:
            return mask_of_segmentation(item["segmentation"], size)
        except ValueError as error:
            raise ValueError(
                f"Cannot read the mask of {item['what']} of {name} in {self.entries.path}: {error}"
            ) from error

    def _warn(self):
        total = len(self._skipped) + sum(len(truth["labels"]) for truth in self._truths)
        parts = []
        if self._skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._reasons.items())
            first = "; ".join(self._skipped[:_NAMED_IN_WARNING])
            more = "; …" if len(self._skipped) > _NAMED_IN_WARNING else ""
            parts.append(
                f"left out {len(self._skipped)} of {counted(total, 'object')} ({reasons}: "
                f"{first}{more}; the attribute `skipped` lists them all)"
            )
        if self._clipped:
            parts.append(f"cut {counted(self._clipped, 'box', 'boxes')} at the borders of images")
        if parts:
            warn(f"{self.entries.path}: {', and '.join(parts)}.")


def _reason(box, cut):
    """Why a box is none, or None."""
    if not np.isfinite(box).all():
        return "not finite"
    if (box[2:] <= box[:2]).any():
        return "without area"
    return "outside of the image" if (cut[2:] <= cut[:2]).any() else None
