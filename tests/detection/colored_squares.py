"""Small images with squares in the colors of their classes, for detectors to learn."""

import numpy as np

SIDE = 18


def squares(count=8, size=64):
    """Images `(count, size, size, 3)` of up to two squares of classes 0 and 1, and their truth."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 0.2, (count, size, size, 3)).astype("float32")
    boxes = np.full((count, 2, 4), -1, "float32")
    labels = np.full((count, 2), -1)
    for number in range(count):
        for row in range(number % 3):
            left, top = rng.integers(0, size - SIDE - 2, 2)
            boxes[number, row] = left, top, left + SIDE, top + SIDE
            labels[number, row] = row
            images[number, top : top + SIDE, left : left + SIDE, row] = 1
    return images, {"boxes": boxes, "labels": labels}
