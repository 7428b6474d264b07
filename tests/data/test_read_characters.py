import numpy as np
import pytest
from data.archive_of import archive_of
from PIL import Image

from kdl.data import read_characters


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "omniglot"
    for alphabet, character in (("Latin", "a"), ("Latin", "b"), ("Greek", "a")):
        place = root / alphabet / character
        place.mkdir(parents=True)
        for number in range(2):
            pixels = np.full((10, 10), True)
            pixels[:5] = False  # black on white
            Image.fromarray(pixels).save(place / f"{number}.png")
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_each_lowest_folder_is_a_class_and_strokes_are_white(folder, packed, tmp_path):
    path = archive_of(folder, tmp_path / "omniglot.zip") if packed else folder
    images, labels = read_characters(path, size=4)
    assert (images.dtype, images.shape) == (np.float32, (6, 4, 4, 1))
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images[0, :, 0, 0].tolist() == [1, 1, 0, 0]


def test_without_drawings_in_folders(folder):
    with pytest.raises(ValueError, match="found none"):
        read_characters(folder / "Latin" / "a")
    with pytest.raises(ValueError, match="size"):
        read_characters(folder, size=0)
