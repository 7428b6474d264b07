"""Scenes of digits among fragments of others, for detection and instance segmentation."""

from typing import Any

import numpy as np

from kdl._checks import check_integer
from kdl.data._digit_drawing import Cards, SceneForm, draw_scene
from kdl.data._truth import padded, truth_of
from kdl.data.digits import digits

SIDE = 16  # pixels of a digit
_SHIFT = 2  # of a digit in its square
_NOISE = 0.2
_LEAST_SIDE = 10
_KEYS = ("boxes", "labels", "visible_boxes", "ignore")


def digit_scenes(
    count: int,
    size: int = 96,
    clutter: int = 30,
    split: str = "train",
    seed: int = 0,
    digits_per_scene: int | tuple[int, int] | None = None,
    digit_size: int | tuple[int, int] = SIDE,
    crowding: float = 0.0,
    occlusion: bool = False,
    masks: bool = False,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Draws scenes of handwritten digits in noise, among fragments of other digits.

    Without `digits_per_scene` each scene is a grid of squares of 16 × 16 pixels. One square, chosen
    by chance, holds a whole digit, moved by up to two pixels; `clutter` others hold a quarter of a
    digit each.

    With `digits_per_scene` digits of several sizes lie anywhere within the scene, each on a gray
    card that reaches an eighth of its size around its strokes; fragments, with a quarter of a card,
    lie below. The card is what is to be found: boxes go around it, and masks are what is seen of
    it, strokes included. A mask of the strokes alone, two or three pixels wide, would be more edge
    than inside at the resolution of a Mask R-CNN, and one digit could not hide another.

    Args:
        count: Number of scenes.
        size: Height and width of a scene, a multiple of 16 without `digits_per_scene`. Defaults to
            96.
        clutter: Number of fragments; without `digits_per_scene` fewer than there are squares.
            Defaults to 30.
        split: `"train"` (default) or `"test"`: which digits of `kdl.data.digits` are drawn.
        seed: Non-negative integer.
        digits_per_scene: Number of digits, or least and most; where there is no room, fewer are
            drawn. Defaults to None: one digit in a grid, as above.
        digit_size: Height and width of digits with their cards, or least and most, at least 10.
            Defaults to 16.
        crowding: Largest share of the smaller of two boxes that both have in common, from 0, where
            boxes are apart, up to 1. Above 0 half of the digits are put where it is crowded.
            Defaults to 0.
        occlusion: If digits hide the parts of earlier ones on which they lie. Defaults to False:
            both show through.
        masks: If masks are returned, too, which take the memory of `most` images a scene.

    Returns:
        `(images, targets)`: float32 `(count, size, size, 1)` in [0, 1], and the dict of `"boxes"`
        float32 `(count, most, 4)`, xyxy in pixels, and `"labels"` int64 `(count, most)`; `most` is
        1 without `digits_per_scene`. With it there are, too,

        - `"visible_boxes"` float32 `(count, most, 4)`, around what is seen; −1 if nothing is,
        - `"ignore"` bool `(count, most)`, whether less than 12 pixels or a tenth of it is seen,
        - `"masks"` bool `(count, most, size, size)`, if asked for,

        and rows of digits that are not there have −1 as label and boxes.

    Raises:
        ValueError: If an argument is out of range or `split` is unknown.
        ImportError: If scikit-learn is not installed.

    Example:
        >>> images, targets = digit_scenes(2, size=48, clutter=4)
        >>> images.shape, targets["boxes"].shape, targets["labels"].shape
        ((2, 48, 48, 1), (2, 1, 4), (2, 1))
        >>> images, targets = digit_scenes(
        ...     3, size=64, clutter=4, digits_per_scene=(2, 4), digit_size=(16, 24), crowding=0.5,
        ...     occlusion=True, masks=True,
        ... )
        >>> targets["labels"].shape, targets["masks"].shape
        ((3, 4), (3, 4, 64, 64))
    """
    count = check_integer("count", count)
    rng = np.random.default_rng(check_integer("seed", seed, least=0))
    if digits_per_scene is None:
        if (digit_size, crowding, occlusion, masks) != (SIDE, 0, False, False):
            raise ValueError(
                "digit_size, crowding, occlusion and masks are of scenes of several digits: pass "
                "digits_per_scene, such as (1, 4)."
            )
        return _grid_scenes(count, size, clutter, split, rng)
    form = _scene_form(size, clutter, digits_per_scene, digit_size, crowding, occlusion)
    sources, labels = digits_of(split, 8)
    cards, images, truths = Cards(sources[..., 0], labels), [], []
    for _ in range(count):
        scene = draw_scene(cards, form, rng)
        rows = zip(scene.boxes, scene.labels, scene.visible_boxes, scene.ignore, strict=True)
        truth = truth_of([dict(zip(_KEYS, row, strict=True)) for row in rows], _KEYS)
        if masks:
            truth["masks"] = scene.masks
        images.append(scene.image)
        truths.append(truth)
    return np.stack(images)[..., None], padded(truths, form.digits[1])


def digits_of(split, size):
    """Gray digits `(samples, size, size, 1)` of a split, and their labels."""
    parts = dict(zip(("train", "test"), digits(size, channels=1), strict=True))
    if split not in parts:
        raise ValueError(f"split must be one of {tuple(parts)}; received {split!r}.")
    return parts[split]


def _grid_scenes(count, size, clutter, split, rng):
    """Scenes of one digit in a grid of squares."""
    across = _check_size(size)
    clutter = check_integer("clutter", clutter, least=0, most=across**2 - 1)
    sources, classes = digits_of(split, SIDE)
    images = np.empty((count, size, size, 1), "float32")
    boxes, labels = np.empty((count, 1, 4), "float32"), np.empty((count, 1), "int64")
    for image, box, label in zip(images, boxes, labels, strict=True):
        image[:] = rng.uniform(0, _NOISE, image.shape)
        squares = rng.permutation(across**2)[: 1 + clutter]
        chosen = rng.integers(0, len(sources), len(squares))
        shift = rng.integers(-_SHIFT, _SHIFT + 1, 2)
        corners = SIDE * np.stack(np.divmod(squares, across), 1)
        for number, (top, left) in enumerate(corners):
            digit = sources[chosen[number]]
            drawn = np.roll(digit, shift, (0, 1)) if number == 0 else _fragment(digit, rng)
            area = image[top : top + SIDE, left : left + SIDE]
            np.maximum(area, drawn, out=area)
        top, left = corners[0] + shift
        box[0] = left, top, left + SIDE, top + SIDE
        label[0] = classes[chosen[0]]
    return images, {"boxes": boxes, "labels": labels}


def _scene_form(size, clutter, digits_per_scene, digit_size, crowding, occlusion):
    """The arguments of scenes of several digits, checked."""
    size = check_integer("size", size, least=_LEAST_SIDE)
    if not 0 <= crowding <= 1:
        raise ValueError(f"crowding must be a share from 0 to 1; received {crowding!r}.")
    return SceneForm(
        size,
        check_integer("clutter", clutter, least=0),
        _range("digits_per_scene", digits_per_scene, 0),
        _range("digit_size", digit_size, _LEAST_SIDE, size),
        float(crowding),
        bool(occlusion),
    )


def _range(name, value, least, most=None):
    """Least and most of an integer or a pair of them."""
    ends = tuple(value) if isinstance(value, tuple | list) else (value, value)
    ends = tuple(check_integer(name, end, least, most) for end in ends)
    if len(ends) != 2 or ends[0] > ends[1] or ends[1] < 1:
        raise ValueError(f"{name} must be a number, or least and most of it; received {value!r}.")
    return ends


def _fragment(digit, rng):
    """A quarter of a digit, put somewhere in its square."""
    half = SIDE // 2
    (row, column), (top, left) = rng.integers(0, half + 1, (2, 2))
    drawn = np.zeros_like(digit)
    drawn[top : top + half, left : left + half] = digit[row : row + half, column : column + half]
    return drawn


def _check_size(size):
    """Number of squares across a scene."""
    if check_integer("size", size, least=SIDE) % SIDE:
        raise ValueError(f"size must be a multiple of {SIDE}; received {size}.")
    return size // SIDE
