"""Ground truth and detections at random, as lists with an array for each image."""

import numpy as np


def random_scenes(seed, images=20, classes=4, truths=6, detections=15, size=160, grid=None):
    """Scenes where most detections are near a ground truth of their class.

    With `grid`, coordinates are its multiples and scores tenths, so that much is equal.
    """
    rng = np.random.default_rng(seed)
    keys = ("boxes", "labels", "crowd", "area"), ("boxes", "labels", "scores")
    real, results = ({key: [] for key in item} for item in keys)
    for _ in range(images):
        count = rng.integers(0, truths + 1)
        boxes = _boxes(rng, count, size)
        labels = rng.integers(0, classes, count)
        near = rng.integers(0, max(count, 1), rng.integers(0, detections + 1))
        if count:
            guesses = boxes[near] + rng.normal(0, 0.08, (len(near), 4)) * size / 4
            guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2])
            sure = rng.random(len(near)) < 0.8
            guessed = np.where(sure, labels[near], rng.integers(0, classes, len(near)))
        else:
            guesses = _boxes(rng, len(near), size)
            guessed = rng.integers(0, classes, len(near))
        scores = rng.random(len(near))
        if grid:
            boxes, guesses = np.round(boxes / grid) * grid, np.round(guesses / grid) * grid
            scores = np.round(scores, 1)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        for key, value in (
            ("boxes", boxes),
            ("labels", labels),
            ("crowd", rng.random(count) < 0.15),
            ("area", area * rng.choice([1.0, 0.5], count)),
        ):
            real[key].append(value)
        for key, value in (("boxes", guesses), ("labels", guessed), ("scores", scores)):
            results[key].append(value)
    return real, results


def _boxes(rng, count, size):
    low = rng.uniform(0, size, (count, 2))
    return np.concatenate([low, low + size * rng.uniform(0.05, 1, (count, 2)) ** 2], -1)


def padded(scenes):
    """The same as arrays padded with −1."""
    return {key: _pad(values) for key, values in scenes.items()}


def _pad(values):
    most = max(len(item) for item in values)
    full = np.full((len(values), most, *values[0].shape[1:]), -1.0)
    for row, item in zip(full, values, strict=True):
        row[: len(item)] = item
    return full


def with_masks(scenes, size):
    """The same with a mask in each box, an ellipse, a triangle or, of a small box, nothing."""
    down, across = np.mgrid[: size[0], : size[1]] + 0.5
    masks = []
    for boxes in scenes["boxes"]:
        masks.append(np.zeros((len(boxes), *size), bool))
        for number, (x1, y1, x2, y2) in enumerate(boxes):
            x = (2 * across - x1 - x2) / max(x2 - x1, 1e-9)
            y = (2 * down - y1 - y2) / max(y2 - y1, 1e-9)
            inside = x**2 + y**2 <= 1 if number % 3 else (abs(x) <= 1) & (abs(y) <= 1) & (x <= y)
            masks[-1][number] = inside
    return {**scenes, "masks": masks}
