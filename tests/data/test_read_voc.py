import numpy as np
import pytest
from data.archive_of import archive_of
from PIL import Image

from kdl.data import read_voc


def annotation(*objects, difficult=()):
    text = ""
    for number, (name, *corners) in enumerate(objects):
        keys = ("xmin", "ymin", "xmax", "ymax")
        box = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, corners, strict=True))
        flag = "<difficult>1</difficult>" if number in difficult else ""
        text += f"<object><name>{name}</name>{flag}<bndbox>{box}</bndbox></object>"
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


def test_classes_are_the_sorted_names_of_all_splits(folder):
    (folder / "ImageSets/Main").mkdir(parents=True)
    (folder / "ImageSets/Main/train.txt").write_text("3\n1 -1\n")
    samples = read_voc(folder, "train", size=(50, 100))
    assert samples.class_names == ["cell", "plate"]
    assert samples.names == ["JPEGImages/1.jpg", "JPEGImages/3.jpg"]
    assert samples.targets["labels"].tolist() == [[0], [-1]]
    with pytest.raises(ValueError, match=r"split 'val' in .* the splits 'train'"):
        read_voc(folder, "val")
    (folder / "ImageSets/Main/train.txt").write_text("1\n7\n")
    with pytest.raises(ValueError, match=r"lists 2 images, of which 1 have no .*: '7'"):
        read_voc(folder, "train")


def test_difficult_objects_are_ignored(folder):
    text = annotation(("cell", 1, 1, 9, 9), ("cell", 1, 1, 9, 9), difficult=(1,))
    (folder / "Annotations/1.xml").write_text(text)
    targets = read_voc(folder).targets
    assert targets["ignore"].tolist() == [[False, True], [False, False], [False, False]]


def test_images_keep_their_sizes_unless_one_is_given(folder):
    Image.new("RGB", (60, 50)).save(folder / "JPEGImages/1.jpg")
    images, targets = read_voc(folder)
    assert [image.shape for image in images] == [(50, 60, 3), (50, 100, 3), (50, 100, 3)]
    np.testing.assert_array_equal(targets["boxes"][0, 0], [10, 20, 30, 40])
    assert read_voc(folder, size=20, letterbox=True).images.shape == (3, 20, 20, 3)


def test_boxes_that_are_none_are_left_out_with_one_warning(folder):
    text = annotation(("cell", 10, 20, 10, 40), ("cell", 90, 10, 120, 20), ("cell", 1, 1, 9, 9))
    (folder / "Annotations/1.xml").write_text(text)
    message = r"left out 1 of 5 objects \(1 without area: object 0 \(cell\) of JPEGImages/1.*cut 1"
    with pytest.warns(UserWarning, match=message) as warnings:
        samples = read_voc(folder)
    assert len(warnings) == 1
    np.testing.assert_array_equal(samples.targets["boxes"][0], [[90, 10, 100, 20], [1, 1, 9, 9]])


def test_png_images_are_found(folder):
    Image.open(folder / "JPEGImages/1.jpg").save(folder / "JPEGImages/1.png")
    (folder / "JPEGImages/1.jpg").unlink()
    assert read_voc(folder).names[0] == "JPEGImages/1.png"


def test_without_names_there_are_no_classes(folder):
    for name in "12":
        (folder / f"Annotations/{name}.xml").write_text(annotation())
    with pytest.raises(ValueError, match="there are no classes: pass class_names"):
        read_voc(folder)
    assert len(read_voc(folder, class_names=["cell"]).images) == 3
