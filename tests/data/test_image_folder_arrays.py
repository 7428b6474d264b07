import numpy as np
import pytest
from PIL import Image

from kdl.data import InputSpec, load_image_folder, read_image_folder

SPEC = InputSpec((4, 4))


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        place = tmp_path / ("dark", "light")[number % 2]
        place.mkdir(exist_ok=True)
        shade = 10 * number if number % 2 == 0 else 5 + 10 * number
        Image.new("RGB", (6, 6), (shade,) * 3).save(place / f"{number:02}.png")
    return tmp_path


def test_arrays_hold_what_the_folder_holds(folder):
    train, test, names = load_image_folder(folder, SPEC)
    parts = read_image_folder(folder, SPEC)
    assert names == ["dark", "light"]
    for (x, y), part in zip((train, test), parts, strict=True):
        assert (x.dtype, y.dtype, x.shape[1:]) == (np.float32, np.int64, (4, 4, 3))
        expected = part.unaugmented()
        ours, theirs = (sorted(zip(i[:, 0, 0, 0], c, strict=True)) for i, c in ((x, y), expected))
        assert ours == theirs
    assert (len(train[0]), len(test[0])) == (16, 4)


def test_the_first_samples_are_of_all_classes_and_always_the_same(folder):
    (x, y), test, _ = load_image_folder(folder, SPEC)
    assert set(y[:8].tolist()) == {0, 1}
    (again, _), test_again, _ = load_image_folder(folder, SPEC)
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(test[0], test_again[0])
    (other, _), _, _ = load_image_folder(folder, SPEC, seed=1)
    assert not np.array_equal(x, other)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or zip archive"):
        load_image_folder(tmp_path / "absent", SPEC)
