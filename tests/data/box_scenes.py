"""Images in which each object is a bright box of its own gray, for tests of what moves them."""

import numpy as np


def box_scene(boxes, height=40, width=60):
    """An image, uint8, whose object k has the gray 100 + k; and what is true of it."""
    image = np.zeros((height, width, 3), "uint8")
    masks = np.zeros((len(boxes), height, width), bool)
    for number, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = 100 + number
        masks[number, top:bottom, left:right] = True
    boxes = np.array(boxes, "float32").reshape(-1, 4)
    target = {
        "boxes": boxes,
        "labels": np.arange(len(boxes)),
        "visible_boxes": boxes.copy(),
        "masks": masks,
    }
    return image, target


def check_scene(image, target):
    """Boxes, visible boxes and masks lie where their objects are in the image."""
    for row, label in enumerate(target["labels"]):
        seen = image[..., 0] == 100 + label
        rows, columns = np.nonzero(seen)
        around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_array_equal(target["boxes"][row], around)
        np.testing.assert_array_equal(target["visible_boxes"][row], around)
        np.testing.assert_array_equal(target["masks"][row], seen)
