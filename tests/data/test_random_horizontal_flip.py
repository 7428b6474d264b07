import numpy as np
import pytest
from data.box_scenes import box_scene, check_scene

from kdl.data import RandomHorizontalFlip


def test_boxes_and_masks_are_flipped_with_the_image():
    image, target = box_scene([[3, 4, 20, 9], [30, 10, 60, 40]])
    found, moved = RandomHorizontalFlip(1)(image, target, np.random.default_rng(0))
    np.testing.assert_array_equal(found, image[:, ::-1])
    check_scene(found, moved)
    assert moved["boxes"][0].tolist() == [40, 4, 57, 9]


def test_as_many_as_told_are_flipped():
    image, target = box_scene([[3, 4, 20, 9]])
    rng = np.random.default_rng(0)
    found = [RandomHorizontalFlip(0.25)(image, target, rng)[0] is not image for _ in range(400)]
    assert 0.18 < np.mean(found) < 0.32
    with pytest.raises(ValueError, match="probability"):
        RandomHorizontalFlip(1.5)


def test_image_without_objects_is_flipped():
    image, target = box_scene([])
    assert RandomHorizontalFlip(1)(image, target, np.random.default_rng(0))[1]["boxes"].size == 0
