"""Drawing of scenes in which digits crowd and cover one another."""

from typing import NamedTuple

import numpy as np

from kdl.data._object_masks import box_of_mask, extent
from kdl.data.digits import interpolation_matrix

_NOISE = 0.2
_PLACES = 24  # that are tried for a digit
# Of the bilinear card: no digit has this value, so that rounding decides no pixel.
_EDGE = 0.4712389
_CARD, _INK = (0.3, 0.45), (0.8, 1.0)  # least and most brightness of a card, and of its strokes
_LEAST_PIXELS, _LEAST_SHARE = 12, 0.1  # of a card, below which it is ignored


class SceneForm(NamedTuple):
    """How scenes look; see `kdl.data.digit_scenes`.

    Attributes:
        size: Height and width.
        clutter: Number of fragments.
        digits: Least and most digits.
        sides: Least and most height and width of a digit.
        crowding: Largest share of a box that lies on another.
        occlusion: If later digits cover earlier ones.
    """

    size: int
    clutter: int
    digits: tuple[int, int]
    sides: tuple[int, int]
    crowding: float
    occlusion: bool


class Scene(NamedTuple):
    """A scene: its image `(size, size)`, and of each digit what it is.

    Attributes:
        image: float32.
        labels: Classes.
        boxes: Around the whole cards.
        visible_boxes: Around what is seen of them; −1 if nothing is.
        masks: What is seen of them.
        ignore: If that is too little.
    """

    image: np.ndarray
    labels: list
    boxes: list
    visible_boxes: list
    masks: np.ndarray
    ignore: list


class Cards:
    """Digits on cards: enlarged, with a margin that follows their strokes.

    Computed in float64, so that no machine rounds the edge of a card otherwise.

    Args:
        sources: Gray digits `(N, 8, 8)`.
        labels: Their classes.
    """

    def __init__(self, sources, labels):
        self.labels = labels
        strokes = np.pad(sources, ((0, 0), (1, 1), (1, 1)))
        # A card reaches a pixel of the 8 × 8 source around the strokes, and fills small holes.
        wide = np.pad(strokes, ((0, 0), (1, 1), (1, 1)))
        shifts = [wide[:, y : y + 10, x : x + 10] for y in range(3) for x in range(3)]
        self._sheets = np.stack([strokes, np.max(shifts, 0)], 1).astype("float64")
        self._matrices = {}

    def __len__(self):
        return len(self.labels)

    def draw(self, which, side, rows=slice(None), columns=slice(None)):
        """Strokes in [0, 1] and the card, bool, of a digit of this size, or of a part of it."""
        if side not in self._matrices:
            self._matrices[side] = interpolation_matrix(side, 10)
        matrix = self._matrices[side]
        strokes, card = matrix[rows] @ self._sheets[which] @ matrix[columns].T
        return strokes, card > _EDGE


def draw_scene(cards, form, rng):
    """A `Scene` of the `Cards`, as the `SceneForm` says."""
    image = _NOISE * rng.random((form.size, form.size), "float32")
    _draw_fragments(image, cards, form, rng)
    boxes, labels, wholes = [], [], []
    masks = np.zeros((form.digits[1], form.size, form.size), bool)
    for _ in range(rng.integers(form.digits[0], form.digits[1] + 1)):
        which, side = rng.integers(len(cards)), rng.integers(form.sides[0], form.sides[1] + 1)
        tones = _tones(1, rng)[0]
        strokes, card = cards.draw(which, side)
        rows, columns = extent(card)
        strokes, card = strokes[rows, columns], card[rows, columns]
        corner = _place(card.shape, boxes, form, rng)
        if corner is None:
            continue
        place = tuple(slice(at, at + span) for at, span in zip(corner, card.shape, strict=True))
        if form.occlusion:
            masks[(slice(len(boxes)), *place)] &= ~card
        _print_card(image[place], strokes, card, tones, form.occlusion)
        masks[len(boxes)][place] = card
        boxes.append([place[1].start, place[0].start, place[1].stop, place[0].stop])
        labels.append(cards.labels[which])
        wholes.append(np.count_nonzero(card))
    parts = [mask[y1:y2, x1:x2] for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=False)]
    visible = [_shifted(box_of_mask(part), box) for part, box in zip(parts, boxes, strict=True)]
    pixels = np.array([np.count_nonzero(part) for part in parts])
    ignore = pixels < np.maximum(_LEAST_PIXELS, _LEAST_SHARE * np.array(wholes))
    return Scene(image, labels, boxes, visible, masks[: len(boxes)], ignore)


def _shifted(inner, box):
    """A box within another one, in pixels of the image; −1 stays."""
    left, top = (0, 0) if inner[0] < 0 else box[:2]
    return [inner[0] + left, inner[1] + top, inner[2] + left, inner[3] + top]


def _place(shape, boxes, form, rng):
    """The corner `(top, left)` of a box that is no more crowded than allowed; None if none is.

    Where digits may crowd, half of them stand in the most crowded place of those tried.
    """
    spans = form.size - np.array(shape)
    corners = (rng.random((_PLACES, 2)) * (spans + 1)).astype(int)
    crowds = rng.random() < 0.5
    if not boxes:
        return corners[0]
    others = np.array(boxes)
    low = np.maximum(corners[:, None], others[:, 1::-1])
    high = np.minimum(corners[:, None] + shape, others[:, :1:-1])
    shared = np.maximum(high - low, 0).prod(-1)
    smaller = np.minimum(shape[0] * shape[1], (others[:, 2:] - others[:, :2]).prod(-1))
    crowded = (shared / smaller).max(1)
    fits = crowded <= form.crowding
    if not fits.any():
        return None
    if form.crowding and crowds:
        return corners[np.where(fits, crowded, -1).argmax()]
    return corners[fits.argmax()]


def _tones(count, rng):
    """Brightness of the card and of the ink for each of some digits, `(count, 2)`."""
    return rng.uniform(*np.transpose([_CARD, _INK]), (count, 2)).astype("float32")


def _print_card(area, strokes, card, tones, opaque):
    """Prints a digit on its card into a part of an image."""
    drawn = tones[0] + (tones[1] - tones[0]) * strokes
    np.copyto(area, drawn if opaque else np.maximum(area, drawn), where=card)


def _draw_fragments(image, cards, form, rng):
    """Quarters of digits and their cards somewhere."""
    count = form.clutter
    which = rng.integers(len(cards), size=count)
    sides = rng.integers(form.sides[0], form.sides[1] + 1, count)
    halves = sides // 2
    starts = rng.integers(0, (sides - halves + 1)[:, None], (count, 2))
    corners = rng.integers(0, (form.size - halves + 1)[:, None], (count, 2))
    tones = _tones(count, rng)
    for number, half in enumerate(halves.tolist()):
        (row, column), (top, left) = starts[number], corners[number]
        part = slice(row, row + half), slice(column, column + half)
        strokes, card = cards.draw(which[number], int(sides[number]), *part)
        area = image[top : top + half, left : left + half]
        _print_card(area, strokes, card, tones[number], True)
