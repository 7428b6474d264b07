import numpy as np
import pytest
from data.box_scenes import box_scene, check_scene

from kdl.data import RandomExpand


def test_boxes_and_masks_lie_in_the_larger_image():
    image, target = box_scene([[3, 4, 20, 9], [30, 10, 60, 40]])
    corners = set()
    for seed in range(20):
        found, moved = RandomExpand(1, fill=0)(image, target, np.random.default_rng(seed))
        assert found.dtype == np.uint8
        assert 40 <= found.shape[0] <= 160
        assert found.shape[1] == pytest.approx(1.5 * found.shape[0], abs=1)
        check_scene(found, moved)
        corners.add(tuple(moved["boxes"][0, :2]))
    assert len(corners) > 10


def test_room_is_filled_with_the_mean_color():
    image, target = box_scene([[0, 0, 60, 20]])
    image[..., 1] = 10
    found, moved = RandomExpand(1, factors=(2, 2))(image, target, np.random.default_rng(0))
    assert found.shape == (80, 120, 3)
    left, top = moved["boxes"][0, :2].astype(int)
    outside = np.ones((80, 120), bool)
    outside[top : top + 40, left : left + 60] = False
    np.testing.assert_array_equal(np.unique(found[outside], axis=0), [[50, 10, 50]])


@pytest.mark.parametrize("arguments", [{"factors": (0.5, 2)}, {"factors": (3, 2)}])
def test_bad_factors(arguments):
    with pytest.raises(ValueError, match="factors must be a smaller and a larger number from 1"):
        RandomExpand(**arguments)


def test_probability_0_changes_nothing():
    image, target = box_scene([[3, 4, 20, 9]])
    found, moved = RandomExpand(0)(image, target, np.random.default_rng(0))
    assert (found is image, moved is target) == (True, True)
