import numpy as np
import pytest

from kdl.data import ArrayDataset, RandomShift


def test_images_are_moved_and_black_enters():
    images = np.arange(1, 1 + 5 * 6 * 7 * 2, dtype="float32").reshape(5, 6, 7, 2)
    moved = RandomShift(2)(images, np.random.default_rng(0))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    places = [(top, left) for top in range(5) for left in range(5)]
    for number, image in enumerate(moved):
        candidates = [padded[number, t : t + 6, left : left + 7] for t, left in places]
        assert any(np.array_equal(image, candidate) for candidate in candidates)
    assert not np.array_equal(moved, images)


def test_all_offsets_occur_alike():
    images = np.zeros((5000, 9, 9, 1), "float32")
    images[:, 4, 4] = 1
    moved = RandomShift(1)(images, np.random.default_rng(0))
    counts = moved.sum(axis=0)[3:6, 3:6, 0]
    assert counts.sum() == 5000
    assert np.abs(counts / 5000 - 1 / 9).max() < 0.02


@pytest.mark.parametrize("pixels", [0, -1, 1.5])
def test_bad_pixels(pixels):
    with pytest.raises(ValueError, match="positive integer"):
        RandomShift(pixels)


def dataset(**arguments):
    images = np.random.default_rng(0).random((10, 8, 8, 1)).astype("float32")
    return ArrayDataset(images, np.arange(10), batch_size=4, **arguments)


def test_augmentation_follows_from_seed_epoch_and_batch():
    plain, shifted, again = (
        dataset(),
        dataset(augment=RandomShift(2)),
        dataset(augment=RandomShift(2)),
    )
    np.testing.assert_array_equal(shifted[0][0], again[0][0])
    np.testing.assert_array_equal(shifted[0][1], plain[0][1])
    assert not np.array_equal(shifted[0][0], plain[0][0])
    first = shifted[0][0]
    shifted.epoch = 1
    assert not np.array_equal(shifted[0][0], first)
    shifted.epoch = 0
    np.testing.assert_array_equal(shifted[0][0], first)


def test_the_test_half_of_a_folder_is_not_augmented(tmp_path):
    from PIL import Image

    from kdl.data import InputSpec, read_image_folder

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("L", (8, 8), 200).save(tmp_path / name / f"{number}.png")
    train, test = read_image_folder(
        tmp_path, InputSpec((8, 8), 1), test_fraction=0.5, augment=RandomShift(3)
    )
    assert (train[0][0] == 0).any()
    assert not (test[0][0] == 0).any()
