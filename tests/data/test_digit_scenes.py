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
