import numpy as np
import pytest
from PIL import Image

from kdl._plots import class_colors
from kdl.data import read_label_maps
from kdl.deploy import ClassShare, Segmentation

LABELS = np.array([[0, 1, 1], [12, 1, 255]])


def test_shares_name_what_is_there():
    shares = Segmentation(LABELS, ["ground", "road"]).shares
    assert shares[0] == ClassShare("road", 1, 0.5)
    assert [one.label for one in shares] == ["road", "ground", "12", "255"]
    assert sum(one.share for one in shares) == pytest.approx(1)
    assert repr(Segmentation(LABELS[:1], ["ground", "road"])) == (
        "<Segmentation: 1×3, road 66.7%, ground 33.3%>"
    )


def test_saved_label_map_holds_the_labels_in_colors(tmp_path):
    Segmentation(LABELS).save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as image:
        np.testing.assert_array_equal(np.asarray(image), LABELS)
        colors = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(colors, class_colors(256)[LABELS])


@pytest.mark.parametrize("most", [255, 256, 65535])
def test_read_label_maps_reads_what_is_saved(tmp_path, most):
    labels = np.array([[0, 1, most]])
    for kind in ("images", "labels"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    Image.new("RGB", (3, 1)).save(tmp_path / "train" / "images" / "m.png")
    Segmentation(labels).save(tmp_path / "train" / "labels" / "m.png")
    _, found = read_label_maps(tmp_path, ["train"])["train"]
    np.testing.assert_array_equal(found, labels[None])


@pytest.mark.parametrize(
    ("labels", "name", "message"),
    [
        (LABELS, "m.jpg", r"Expected a \.png file.*m\.jpg"),
        (LABELS, "m", r"Expected a \.png file"),
        (-LABELS, "m.png", "labels of 0 … 65535; received -255 … 0"),
        (LABELS * 1000, "m.png", "received 0 … 255000"),
    ],
)
def test_label_map_that_cannot_be_saved(tmp_path, labels, name, message):
    with pytest.raises(ValueError, match=message):
        Segmentation(labels).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_overlay_mixes_image_and_colors(tmp_path):
    pixels = np.full((2, 3, 3), 100, "uint8")
    Segmentation(LABELS).save_overlay(tmp_path / "m.png", pixels, 0.25)
    with Image.open(tmp_path / "m.png") as image:
        found = np.asarray(image)
    expected = 0.75 * pixels + 0.25 * class_colors(256)[LABELS]
    np.testing.assert_allclose(found, expected, atol=0.51)
    unknown = np.where(LABELS == 255, -1, LABELS)
    Segmentation(unknown).save_overlay(tmp_path / "m.png", pixels, 1)
    with Image.open(tmp_path / "m.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[1, 2], pixels[1, 2])
        np.testing.assert_array_equal(np.asarray(image)[0], class_colors(2)[LABELS[0]])


@pytest.mark.parametrize(
    ("name", "opacity", "message"),
    [("m.png", 1.5, "opacity must be from 0 to 1"), ("m.txt", 0.5, r"that Pillow writes.*m\.txt")],
)
def test_overlay_that_cannot_be_saved(tmp_path, name, opacity, message):
    with pytest.raises(ValueError, match=message):
        Segmentation(LABELS).save_overlay(tmp_path / name, np.zeros((2, 3, 3), "uint8"), opacity)
