import numpy as np

from kdl.data._object_masks import MaskList, box_of_mask, mask_of_segmentation


def test_masks_come_back_as_they_were():
    rng = np.random.default_rng(0)
    images = [rng.random((3, 8, 9)) < 0.1, np.zeros((0, 4, 4), bool), np.zeros((1, 2, 3), bool)]
    masks = MaskList()
    for image in images:
        masks.append(image)
    assert len(masks) == 3
    for found, image in zip(masks, images, strict=True):
        assert found.dtype == bool
        np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(masks[-3:][0], images[0])


def test_memory_is_that_of_the_extents():
    masks, image = MaskList(), np.zeros((1, 512, 512), bool)
    image[0, 100:110, 200:203] = True
    masks.append(image)
    ((_, part),) = masks._images[0][1]
    assert part.shape == (10, 3)
    assert part.base is None
    assert box_of_mask(image[0]) == [200, 100, 203, 110]


def test_polygon_covers_what_it_surrounds():
    mask = mask_of_segmentation([[2, 3, 12, 3, 12, 8, 2, 8]], (20, 30))
    assert mask.shape == (20, 30)
    assert mask[3:8, 2:12].all()
    assert abs(mask.sum() - 50) <= 16  # a border of a pixel at most
