import numpy as np
import pytest
from data.archive_of import archive_of
from PIL import Image

from kdl.data import read_instance_masks


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "cells"
    for kind in ("images", "instances"):
        (root / kind).mkdir(parents=True)
    for name, size in (("b", (6, 4)), ("a", (8, 8))):
        Image.new("RGB", size, (len(name), 100, size[0])).save(root / f"images/{name}.png")
        objects = np.zeros(size[::-1], "uint16")
        objects[:2] = 300  # more than a byte holds
        Image.fromarray(objects).save(root / f"instances/{name}.png")
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_numbers_of_objects_are_kept_by_name_and_size(folder, packed, tmp_path):
    path = archive_of(folder, tmp_path / "cells.zip") if packed else folder
    images, instances = read_instance_masks(path, size=4)
    assert images.shape == (2, 4, 4, 3)
    assert images[:, 0, 0, 2].tolist() == [8, 6]  # a, then b
    assert instances.dtype == np.int32
    assert [sorted(set(mask.ravel().tolist())) for mask in instances] == [[0, 300]] * 2
    assert (instances[0] > 0).mean() == 0.25


def test_errors(folder, tmp_path):
    with pytest.raises(ValueError, match="Pass size"):
        read_instance_masks(folder)
    Image.new("L", (6, 8)).save(folder / "instances/a.png")
    with pytest.raises(ValueError, match=r"instances/a\.png .*size of its image, \(8, 8\)"):
        read_instance_masks(folder, size=4)
    (folder / "instances/a.png").unlink()
    with pytest.raises(ValueError, match=r"the instance mask of images/a\.png"):
        read_instance_masks(folder, size=4)
    with pytest.raises(ValueError, match="found none"):
        read_instance_masks(folder / "images", size=4)
    bad = tmp_path / "bad.zip"
    bad.write_text("no archive")
    with pytest.raises(ValueError, match="no sound zip archive"):
        read_instance_masks(bad)
