import numpy as np
import pytest

from kdl.data import digit_masks


def test_strokes_are_brighter_than_the_noise_by_half():
    images, labels = digit_masks(60)
    assert (images.dtype, labels.dtype) == (np.float32, np.int32)
    strokes, ground = images[labels == 1], images[labels == 0]
    assert 0.3 < strokes.mean() - ground.mean() < 0.6
    assert ground.std() == pytest.approx(0.35, abs=0.02)
    assert 0.01 < (labels == 1).mean() < 0.2


def test_more_digits_label_more_pixels():
    few, many = (digit_masks(20, digits_per_image=n)[1].sum() for n in (1, 6))
    assert 3 * few < many


def test_images_follow_from_seed_and_split():
    one, again = (digit_masks(2)[0] for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, digit_masks(2, seed=1)[0])
    assert not np.array_equal(digit_masks(2)[1], digit_masks(2, split="test")[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 12}, "size"),
        ({"digits_per_image": 0}, "digits_per_image"),
        ({"split": "all"}, "split must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        digit_masks(**{"count": 1, **arguments})
