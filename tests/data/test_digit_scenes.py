import numpy as np
import pytest

from kdl.data import digit_scenes, digits


def test_the_box_holds_a_digit_of_its_label():
    sources, labels = digits(16, channels=1)[0]
    images, targets = digit_scenes(12, size=64, clutter=0)
    assert targets["boxes"].shape == (12, 1, 4)
    for image, [box], [label] in zip(images, targets["boxes"], targets["labels"], strict=True):
        left, top, right, bottom = box.astype(int)
        assert (right - left, bottom - top) == (16, 16)
        # A digit is moved within its square by a roll: undo it.
        square = image[16 * round(top / 16) :][:16, 16 * round(left / 16) :][:, :16]
        shift = top - 16 * round(top / 16), left - 16 * round(left / 16)
        digit = np.roll(square, (-shift[0], -shift[1]), (0, 1))
        distances = np.abs(sources - digit).max((1, 2, 3))
        assert distances.min() <= 0.2  # the noise
        assert labels[distances.argmin()] == label


def test_clutter_fills_as_many_squares():
    images, targets = digit_scenes(5, size=64, clutter=6)
    bright = images.reshape(5, 4, 16, 4, 16).max((2, 4)) > 0.25
    assert (bright.sum((1, 2)) <= 7).all()
    assert bright.sum((1, 2)).mean() > 5
    assert images.min() >= 0
    assert images.max() <= 1
    assert set(targets) == {"boxes", "labels"}


def test_scenes_follow_from_seed_and_split():
    one, again = (digit_scenes(3, 48, 2)[0] for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, digit_scenes(3, 48, 2, seed=1)[0])
    assert not np.array_equal(one, digit_scenes(3, 48, 2, split="test")[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 50}, "multiple of 16"),
        ({"size": 8}, "size"),
        ({"count": 0}, "count"),
        ({"size": 32, "clutter": 4}, "clutter"),
        ({"split": "val"}, "split must be one of"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        digit_scenes(**{"count": 1, **arguments})


def test_scenes_of_one_digit_stay_as_they_were():
    """Examples and their tables were made with them."""
    images, targets = digit_scenes(3, 48, 2, seed=5)
    assert targets["labels"].ravel().tolist() == [3, 0, 3]
    assert targets["boxes"][:, 0, :2].tolist() == [[1, 33], [18, 14], [33, 2]]
    np.testing.assert_allclose(images.sum((1, 2, 3)), [320.714, 358.570, 343.213], rtol=1e-5)


def crowd(count=20, **changes):
    arguments = {
        "size": 80,
        "clutter": 5,
        "digits_per_scene": (2, 6),
        "digit_size": (14, 30),
        "crowding": 0.6,
        "occlusion": True,
        "masks": True,
    }
    return digit_scenes(count, **{**arguments, **changes})


def around(mask):
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def shares(boxes):
    """What each pair of boxes has in common, as a share of the smaller."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    shared = np.maximum(high - low, 0).prod(-1) / np.minimum(areas[:, None], areas)
    return shared[np.triu_indices(len(boxes), 1)]


def test_several_digits_have_boxes_masks_and_visible_parts():
    images, targets = crowd()
    assert images.shape == (20, 80, 80, 1)
    assert (images.min() >= 0, images.max() <= 1) == (True, True)
    assert {key: (value.shape, value.dtype.name) for key, value in targets.items()} == {
        "boxes": ((20, 6, 4), "float32"),
        "labels": ((20, 6), "int64"),
        "visible_boxes": ((20, 6, 4), "float32"),
        "ignore": ((20, 6), "bool"),
        "masks": ((20, 6, 80, 80), "bool"),
    }
    real = targets["labels"] >= 0
    assert set(real.sum(1)) == {2, 3, 4, 5, 6}
    for key in ("boxes", "visible_boxes"):
        assert (targets[key][~real] == -1).all()
    assert not targets["masks"][~real].any()
    sides = (targets["boxes"][..., 2:] - targets["boxes"][..., :2])[real]
    assert sides.min() >= 8
    assert sides.max() <= 30
    for mask, box, visible in zip(
        targets["masks"][real], targets["boxes"][real], targets["visible_boxes"][real], strict=True
    ):
        if mask.any():
            assert around(mask) == visible.tolist()
        assert (box[:2] <= visible[:2]).all() or not mask.any()
        assert (visible[2:] <= box[2:]).all()


def test_digits_that_nothing_covers_fill_their_boxes():
    _, targets = crowd(digits_per_scene=1)
    for mask, box, visible in zip(
        targets["masks"][:, 0], targets["boxes"][:, 0], targets["visible_boxes"][:, 0], strict=True
    ):
        assert around(mask) == box.tolist() == visible.tolist()
        left, top, right, bottom = box.astype(int)
        assert mask[top:bottom, left:right].mean() > 0.5
    assert not targets["ignore"].any()


def test_a_card_is_brighter_than_the_noise_and_holds_a_digit():
    images, targets = crowd(digits_per_scene=1, clutter=0)
    for image, [mask] in zip(images[..., 0], targets["masks"], strict=True):
        assert image[mask].min() >= 0.25
        assert image[mask].max() > 0.7
        assert image[~mask].max() <= 0.2


def test_labels_are_of_the_digits_that_are_drawn():
    """A nearest neighbor among the sources, enlarged alike, tells them."""
    sources, labels = digits(24, channels=1)[0]
    images, targets = crowd(digits_per_scene=1, digit_size=30, clutter=0)
    hits = 0
    for image, [box], [label] in zip(images, targets["boxes"], targets["labels"], strict=True):
        left, top, right, bottom = box.astype(int)
        # A card has a margin of an eighth of the digit; in narrow ones its place is not known.
        seen = image[top:bottom, left:right, 0]
        strokes = np.clip((seen - 0.5) / 0.4, 0, 1)[3:-3]
        errors = []
        for shift in range(max(24 - strokes.shape[1] + 1, 1)):
            part = sources[:, :, shift : shift + strokes.shape[1], 0]
            height = min(part.shape[1], strokes.shape[0])
            errors.append(
                np.square(part[:, :height] - strokes[:height, : part.shape[2]]).mean((1, 2))
            )
        hits += labels[np.min(errors, 0).argmin()] == label
    assert hits >= 14


def test_crowding_bounds_what_boxes_share():
    for crowding in (0.0, 0.3, 0.8):
        boxes, labels = (crowd(crowding=crowding)[1][key] for key in ("boxes", "labels"))
        found = np.concatenate([shares(b[y >= 0]) for b, y in zip(boxes, labels, strict=True)])
        assert found.max() <= crowding
        if crowding:
            assert (found > crowding / 2).mean() > 0.1


def test_later_digits_cover_earlier_ones_only_with_occlusion():
    apart, together = crowd(occlusion=True)[1], crowd(occlusion=False)[1]
    np.testing.assert_array_equal(apart["boxes"], together["boxes"])
    assert apart["masks"].sum(1).max() == 1
    assert together["masks"].sum(1).max() > 1
    np.testing.assert_array_equal(apart["masks"].any(1), together["masks"].any(1))
    np.testing.assert_array_equal(together["visible_boxes"], together["boxes"])
    assert not np.array_equal(apart["visible_boxes"], apart["boxes"])


def test_what_is_hidden_is_ignored():
    _, targets = crowd(80, size=48, digits_per_scene=8, crowding=1.0, digit_size=(12, 40))
    whole = crowd(
        80, size=48, digits_per_scene=8, crowding=1.0, digit_size=(12, 40), occlusion=False
    )[1]["masks"].sum((2, 3))
    seen, real = targets["masks"].sum((2, 3)), targets["labels"] >= 0
    expected = real & (seen < np.maximum(12, 0.1 * whole))
    np.testing.assert_array_equal(targets["ignore"], expected)
    assert expected.any()
    hidden = real & (seen == 0)
    assert (targets["visible_boxes"][hidden] == -1).all()


def test_where_there_is_no_room_are_fewer():
    _, targets = crowd(4, size=40, digits_per_scene=12, digit_size=16, crowding=0)
    counts = (targets["labels"] >= 0).sum(1)
    assert counts.max() < 12
    assert counts.min() >= 2
    assert targets["labels"].shape == (4, 12)


def test_crowded_scenes_follow_from_seed_and_split():
    for key in ("boxes", "masks"):
        np.testing.assert_array_equal(crowd(3)[1][key], crowd(3)[1][key])
    assert not np.array_equal(crowd(3)[0], crowd(3, seed=1)[0])
    assert not np.array_equal(crowd(3)[0], crowd(3, split="test")[0])
    assert "masks" not in crowd(1, masks=False)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"digit_size": 20}, "pass digits_per_scene"),
        ({"masks": True}, "pass digits_per_scene"),
        ({"digits_per_scene": 0}, "digits_per_scene"),
        ({"digits_per_scene": (4, 2)}, "least and most"),
        ({"digits_per_scene": (1, 2, 3)}, "least and most"),
        ({"digits_per_scene": 1, "digit_size": 9}, "digit_size"),
        ({"digits_per_scene": 1, "digit_size": 97}, "digit_size"),
        ({"digits_per_scene": 1, "crowding": 1.5}, "crowding"),
        ({"digits_per_scene": 1, "clutter": -1}, "clutter"),
    ],
)
def test_bad_arguments_of_several_digits(arguments, message):
    with pytest.raises(ValueError, match=message):
        digit_scenes(**{"count": 1, **arguments})
