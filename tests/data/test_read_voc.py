import numpy as np
import pytest
from data.archive_of import archive_of
from PIL import Image

from kdl.data import read_voc


def annotation(*objects):
    text = ""
    for name, *corners in objects:
        keys = ("xmin", "ymin", "xmax", "ymax")
        box = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, corners, strict=True))
        text += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
    return f"<annotation>{text}</annotation>"


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "blood"
    for kind in ("Annotations", "JPEGImages"):
        (root / kind).mkdir(parents=True)
    texts = {
        "1": annotation(("cell", 10, 20, 30, 40)),
        "2": annotation(("plate", 0, 0, 100, 50), ("cell", 50, 25, 60, 30)),
        "3": annotation(),
    }
    for name, text in texts.items():
        (root / f"Annotations/{name}.xml").write_text(text)
        Image.new("RGB", (100, 50), (40 * int(name),) * 3).save(root / f"JPEGImages/{name}.jpg")
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_boxes_are_resized_with_their_images_and_padded(folder, packed, tmp_path):
    path = archive_of(folder, tmp_path / "blood.zip") if packed else folder
    images, targets = read_voc(path, (25, 200), ["cell", "plate"])
    assert images.shape == (3, 25, 200, 3)
    np.testing.assert_allclose(images[:, 0, 0, 0], [40, 80, 120], atol=1)
    assert targets["labels"].tolist() == [[0, -1], [1, 0], [-1, -1]]
    expected = [[20, 10, 60, 20], [0, 0, 200, 25], [100, 12.5, 120, 15]]
    boxes = targets["boxes"]
    np.testing.assert_allclose([boxes[0, 0], *boxes[1]], expected)
    assert (boxes[targets["labels"] < 0] == -1).all()


def test_boxes_are_those_of_the_upright_image(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored 100 × 50, seen 50 × 100
    Image.new("RGB", (100, 50)).save(folder / "JPEGImages/1.jpg", exif=exif)
    _, targets = read_voc(folder, 10, ["cell", "plate"])
    np.testing.assert_allclose(targets["boxes"][0, 0], [2, 2, 6, 4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (annotation(("dog", 0, 0, 1, 1)), "'dog', which is none of class_names"),
        ("<annotation>", "as XML"),
        ("<a><object><name>cell</name></object></a>", "xmin, ymin, xmax, ymax"),
    ],
)
def test_bad_annotations_are_named(text, message, folder):
    (folder / "Annotations/2.xml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_voc(folder, 8, ["cell", "plate"])


def test_missing_files(folder):
    (folder / "JPEGImages/3.jpg").unlink()
    with pytest.raises(ValueError, match=r"the image of Annotations/3\.xml"):
        read_voc(folder, 8, ["cell", "plate"])
    with pytest.raises(ValueError, match="found none"):
        read_voc(folder / "JPEGImages", 8, ["cell"])
