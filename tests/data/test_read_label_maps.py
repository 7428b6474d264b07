import numpy as np
import pytest
from data.archive_of import archive_of
from PIL import Image

from kdl.data import read_label_maps


@pytest.fixture
def folder(tmp_path):
    """A split of two images whose left half is of class 1."""
    root = tmp_path / "streets"
    for kind in ("images", "labels"):
        (root / "train" / kind).mkdir(parents=True)
    labels = np.zeros((4, 8), "uint8")
    labels[:, :4] = 1
    for number in range(2):
        pixels = np.where(labels[..., None] == 1, 200 + number, 30).astype("uint8")
        Image.fromarray(np.repeat(pixels, 3, -1)).save(root / f"train/images/{number}.png")
        Image.fromarray(labels).save(root / f"train/labels/{number}.png")
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_images_and_label_maps_belong_together(folder, packed, tmp_path):
    path = archive_of(folder, tmp_path / "streets.zip") if packed else folder
    images, labels = read_label_maps(path, ["train"])["train"]
    assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
    assert images[:, 0, 0, 0].tolist() == [200, 201]
    assert labels[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_resizing_keeps_classes_whole(folder):
    images, labels = read_label_maps(folder, ["train"], size=(2, 5))["train"]
    assert images.shape == (2, 2, 5, 3)
    assert set(np.unique(labels)) == {0, 1}
    assert 30 < images[0, 0, 2, 0] < 200  # the mean of both halves


def test_missing_split_label_or_size(folder):
    with pytest.raises(ValueError, match="val/images"):
        read_label_maps(folder, ["val"])
    Image.new("RGB", (3, 3)).save(folder / "train/images/0.png")
    for size in (None, 4):  # which would hide it
        with pytest.raises(ValueError, match=r"size of its image, \(3, 3\).* it has \(4, 8\)"):
            read_label_maps(folder, ["train"], size)
    Image.new("L", (3, 3)).save(folder / "train/labels/0.png")
    with pytest.raises(ValueError, match="Pass size"):
        read_label_maps(folder, ["train"])
    (folder / "train/labels/1.png").unlink()
    with pytest.raises(ValueError, match=r"the label map of train/images/1\.png"):
        read_label_maps(folder, ["train"])


def test_labels_in_colors_are_no_numbers(folder):
    Image.new("RGB", (8, 4)).save(folder / "train/labels/0.png")
    with pytest.raises(ValueError, match="one number a pixel"):
        read_label_maps(folder, ["train"])


def test_damaged_image_is_named(folder):
    (folder / "train/images/1.png").write_text("no image")
    with pytest.raises(ValueError, match=r"train/images/1\.png"):
        read_label_maps(folder, ["train"])


def test_nothing_at_the_path_and_bad_size(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or zip archive"):
        read_label_maps(tmp_path / "absent.zip")
    with pytest.raises(ValueError, match="height and width"):
        read_label_maps(folder, size=(1, 2, 3))
