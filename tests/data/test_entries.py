import pytest

from kdl.data._entries import Entries


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
