import numpy as np
import pytest
from data.archive_of import archive_of
from PIL import Image

from kdl.data._entries import Entries, rgb_array


def test_an_image_that_is_a_program_is_not_run(tmp_path):
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    )
    with Entries(tmp_path) as entries, pytest.raises(ValueError, match="EPS is a program"):
        entries.open_image("a.png")


def test_names_are_sorted_and_found_by_ending_place_and_folder(tmp_path):
    for name in ("b/x.PNG", "a/x.png", "a/y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    with Entries(tmp_path) as entries:
        assert entries.names == ["a/x.png", "a/y.txt", "b/x.PNG"]
        assert entries.matching(".png") == ["a/x.png", "b/x.PNG"]
        assert entries.matching(".png", start="b/") == ["b/x.PNG"]
        assert entries.matching((".txt", ".png"), parent="a") == ["a/x.png", "a/y.txt"]


@pytest.mark.parametrize("packed", [False, True])
def test_hidden_files_are_no_entries(packed, tmp_path):
    """As a Mac packs them: of each file one more, which has its name and is no image."""
    root = tmp_path / "set"
    for name in ("a/1.png", "a/._1.png", "__MACOSX/a/._1.png", ".thumbnails/1.png", "a/Thumbs.db"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    with Entries(archive_of(root, tmp_path / "set.zip") if packed else root) as entries:
        assert entries.names == ["a/1.png"]


def test_image_on_its_side_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    with Entries(tmp_path) as entries:
        assert entries.open_image("a.jpg").size == (4, 6)


def test_16_bit_gray_image_keeps_its_values(tmp_path):
    """Their high bytes; Pillow alone would cut at 255."""
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype("uint16")
    Image.fromarray(values).save(tmp_path / "gray.png")
    with Entries(tmp_path) as entries:
        pixels = rgb_array(entries.open_image("gray.png"))
    np.testing.assert_array_equal(pixels, np.repeat((values >> 8)[..., None], 3, -1))
