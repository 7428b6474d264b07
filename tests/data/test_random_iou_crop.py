import numpy as np
import pytest
from data.box_scenes import box_scene, check_scene

from kdl.data import RandomIoUCrop

BOXES = [[3, 4, 20, 14], [30, 10, 58, 38], [5, 20, 15, 38]]


def crops(count=200, boxes=BOXES, **arguments):
    image, target = box_scene(boxes)
    crop = RandomIoUCrop(**arguments)
    for seed in range(count):
        yield image, target, *crop(image, target, np.random.default_rng(seed))


def test_boxes_and_masks_are_cut_with_the_image():
    sizes = set()
    for image, _, found, moved in crops():
        check_scene(found, moved)
        assert len(moved["boxes"])
        assert found.shape[0] >= 0.09 * image.shape[0]
        sizes.add(found.shape)
    assert len(sizes) > 50


def test_objects_stay_whose_centers_are_inside():
    image, target = box_scene(BOXES)
    image[..., 1], image[..., 2] = np.arange(40)[:, None], np.arange(60)
    centers = (target["boxes"][:, :2] + target["boxes"][:, 2:]) / 2
    counts = set()
    for seed in range(100):
        crop = RandomIoUCrop(least_ious=(0.0,))
        found, moved = crop(image, target, np.random.default_rng(seed))
        corner, sides = found[0, 0, :0:-1].astype(int), np.array(found.shape[1::-1])
        inside = ((centers > corner) & (centers < corner + sides)).all(1)
        assert moved["labels"].tolist() == np.flatnonzero(inside).tolist()
        counts.add(len(moved["labels"]))
    assert counts == {1, 2, 3}


def test_crop_overlaps_an_object_as_much_as_told():
    """With 0.7 the crop and one of the objects are nearly the same."""
    cut = 0
    for image, _, found, moved in crops(least_ious=(0.7,), boxes=[[10, 5, 50, 35]]):
        if found is image:
            continue
        cut += 1
        (box,) = moved["boxes"]
        shared = (box[2:] - box[:2]).prod()
        assert shared / (40 * 30 + found.shape[0] * found.shape[1] - shared) >= 0.7
    assert cut > 50


def test_whole_image_is_one_of_the_choices():
    kept = [found is image for image, _, found, _ in crops(least_ious=(None, 0.0))]
    assert 0.4 < np.mean(kept) < 0.6
    assert all(found is image for image, _, found, _ in crops(5, boxes=[]))


def test_what_cannot_be_cut_stays():
    """No crop of half a side overlaps a small object so much."""
    arguments = {"least_ious": (0.9,), "scales": (0.5, 1)}
    assert all(found is image for image, _, found, _ in crops(5, [[1, 1, 4, 4]], **arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"least_ious": ()}, "least_ious"),
        ({"least_ious": (1.5,)}, "least_ious"),
        ({"scales": (0.5, 2)}, "scales"),
        ({"ratios": (2, 1)}, "ratios"),
        ({"attempts": 0}, "attempts"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomIoUCrop(**arguments)
