import json
import shutil

import numpy as np
import pytest
from data.archive_of import archive_of
from data.coco_files import box, write_coco
from PIL import Image

from kdl.data import read_coco

TWO = [box(10, 2, 0, 6, 4, category=7), box(10, 0, 0, 20, 10), box(11, 1, 1, 3, 3)]


@pytest.mark.parametrize("packed", [False, True])
def test_boxes_are_xyxy_and_labels_count_from_0(packed, tmp_path):
    root = write_coco(tmp_path / "set", annotations=TWO)
    path = archive_of(root, tmp_path / "set.zip") if packed else root
    samples = read_coco(path, "train")
    images, targets = samples
    assert (images.shape, images.dtype) == ((2, 10, 20, 3), np.uint8)
    assert images[:, 0, 0, 0].tolist() == [50, 100]
    assert targets["labels"].tolist() == [[1, 0], [0, -1]]
    np.testing.assert_array_equal(targets["boxes"][0], [[2, 0, 8, 4], [0, 0, 20, 10]])
    np.testing.assert_array_equal(targets["boxes"][1], [[1, 1, 4, 4], [-1, -1, -1, -1]])
    np.testing.assert_array_equal(targets["area"], [[24, 200], [9, -1]])
    assert not targets["crowd"].any()
    assert not targets["ignore"].any()
    assert samples.class_names == ["dog", "cat"]
    assert samples.category_ids == [3, 7]
    assert samples.image_ids == [10, 11]
    assert samples.names == ["images/0.png", "images/1.png"]
    assert samples.skipped == []
    assert {key: values.dtype.name for key, values in targets.items()} == {
        "boxes": "float32",
        "labels": "int64",
        "ignore": "bool",
        "crowd": "bool",
        "area": "float32",
    }


LAYOUTS = {
    "train.json": ("train.json", "images"),
    "annotations/train.json": ("annotations/train.json", "images"),
    "instances": ("annotations/instances_train.json", "train"),
    "instances_of_a_year": ("annotations/instances_train2017.json", "train2017"),
    "roboflow": ("train/_annotations.coco.json", "train"),
    "folder_within": ("set/train.json", "set/images"),
    "deep": ("train.json", "pictures/first"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_found(name, tmp_path):
    file, images = LAYOUTS[name]
    source = write_coco(tmp_path / "source", annotations=TWO)
    root = tmp_path / "set"
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "train.json", root / file)
    shutil.copytree(source / "images", root / images, dirs_exist_ok=True)
    # One more split must not be taken for it.
    (root / file).with_name("val.json").write_text("{}")
    if name == "roboflow":
        (root / file).with_name("val.json").unlink()
        (root / "valid").mkdir()
        (root / "valid/_annotations.coco.json").write_text("{}")
    assert len(read_coco(root, "train").names) == 2


def test_file_names_with_folders_and_backslashes_are_found(tmp_path):
    root = write_coco(tmp_path, annotations=TWO)
    data = json.loads((root / "train.json").read_text())
    data["images"][0]["file_name"] = "images/0.png"
    data["images"][1]["file_name"] = "C:\\pictures\\1.png"
    (root / "train.json").write_text(json.dumps(data))
    assert read_coco(root).names == ["images/0.png", "images/1.png"]


def test_images_of_different_sizes_are_a_list_until_size_is_given(tmp_path):
    boxes = [box(10, 2, 0, 6, 4), box(11, 0, 0, 5, 10, iscrowd=1)]
    root = write_coco(tmp_path, sizes=((20, 10), (10, 20)), annotations=boxes)
    images, _ = read_coco(root)
    assert [image.shape for image in images] == [(10, 20, 3), (20, 10, 3)]
    images, targets = read_coco(root, size=(10, 10))
    assert images.shape == (2, 10, 10, 3)
    np.testing.assert_array_equal(targets["boxes"][:, 0], [[1, 0, 4, 4], [0, 0, 5, 5]])
    np.testing.assert_array_equal(targets["area"][:, 0], [12, 25])
    assert targets["crowd"].tolist() == targets["ignore"].tolist() == [[False], [True]]
    images, targets = read_coco(root, size=10, letterbox=True)
    np.testing.assert_array_equal(targets["boxes"][:, 0], [[1, 0, 4, 2], [0, 0, 2.5, 5]])
    assert (images[0, :5] == 50).all()
    assert (images[0, 5:] == 0).all()
    assert (images[1, :, 5:] == 0).all()


def test_images_without_objects_stay(tmp_path):
    images, targets = read_coco(write_coco(tmp_path))
    assert len(images) == 2
    assert targets["labels"].tolist() == [[-1], [-1]]


def test_ignore_is_kept_beside_crowd(tmp_path):
    boxes = [box(10, 2, 0, 6, 4, ignore=1), box(10, 2, 0, 6, 4, iscrowd=1), box(10, 2, 0, 6, 4)]
    targets = read_coco(write_coco(tmp_path, annotations=boxes)).targets
    assert targets["ignore"][0].tolist() == [True, True, False]
    assert targets["crowd"][0].tolist() == [False, True, False]


def test_visible_boxes_are_minus_one_where_there_is_none(tmp_path):
    boxes = [
        box(10, 2, 0, 6, 4, vis_bbox=[2, 0, 3, 4], visibility=0.5),
        box(10, 0, 0, 6, 4, visibility=0.01),
    ]
    root = write_coco(tmp_path, annotations=boxes)
    targets = read_coco(root, size=(20, 40)).targets
    np.testing.assert_array_equal(targets["visible_boxes"][0], [[4, 0, 10, 8], [-1] * 4])
    np.testing.assert_allclose(targets["visibility"][0], [0.5, 0.01])


def test_visible_boxes_are_of_the_format_of_boxes(tmp_path):
    boxes = [box(10, 2, 0, 8, 4, vis_bbox=[2, 0, 5, 4])]
    targets = read_coco(write_coco(tmp_path, annotations=boxes), box_format="xyxy").targets
    np.testing.assert_array_equal(targets["visible_boxes"][0], [[2, 0, 5, 4]])


RLE = {"size": [10, 20], "counts": [20, 3, 7, 3, 167]}  # columns 2 and 3, rows 0 … 2


@pytest.mark.parametrize("compressed", [False, True])
def test_masks_of_run_lengths_and_polygons(compressed, tmp_path):
    rle = {"size": [10, 20], "counts": "d0374]O"} if compressed else RLE
    if compressed:
        pytest.importorskip("pycocotools")
        from pycocotools import mask

        expected = np.zeros((10, 20), "uint8")
        expected[:3, 2:4] = 1
        rle = {
            "size": [10, 20],
            "counts": mask.encode(np.asfortranarray(expected))["counts"].decode(),
        }
    boxes = [
        box(10, 2, 0, 2, 3, segmentation=rle),
        box(10, 4, 2, 6, 4, segmentation=[[4, 2, 10, 2, 10, 6, 4, 6]]),
        box(11, 0, 0, 4, 2, segmentation=[[0, 0, 2, 0, 2, 2, 0, 2], [3, 0, 4, 0, 4, 2, 3, 2]]),
    ]
    root = write_coco(tmp_path, annotations=boxes)
    masks = read_coco(root, masks=True).targets["masks"]
    assert [of_image.shape for of_image in masks] == [(2, 10, 20), (1, 10, 20)]
    first, second = masks[0]
    assert first.dtype == bool
    assert np.argwhere(first).tolist() == [[y, x] for y in range(3) for x in (2, 3)]
    assert abs(second[2:6, 4:10].mean() - 1) < 0.05
    assert second.sum() == pytest.approx(24, abs=12)
    halved = read_coco(root, size=(5, 10), masks=True).targets["masks"]
    assert halved[0].shape == (2, 5, 10)
    np.testing.assert_array_equal(halved[0][0][:, 1], [True, False, False, False, False])


def test_letterboxed_masks_lie_with_their_images(tmp_path):
    boxes = [box(10, 0, 0, 20, 10, segmentation={"size": [10, 20], "counts": [0, 200]})]
    targets = read_coco(
        write_coco(tmp_path, annotations=boxes), size=20, letterbox=True, masks=True
    ).targets
    assert targets["masks"][0][0, :10].all()
    assert not targets["masks"][0][0, 10:].any()


def test_what_is_no_box_is_left_out_with_one_warning(tmp_path):
    boxes = [
        box(10, 15, 2, 10, 4),  # beyond the border
        box(10, 3, 3, 0, 4),
        box(11, 25, 0, 4, 4),
        box(11, float("nan"), 0, 4, 4),
        box(11, 1, 1, 4, 4),
    ]
    root = write_coco(tmp_path, annotations=boxes)
    message = (
        r"left out 3 of 5 objects \(1 without area, 1 outside of the image, 1 not finite: "
        r"annotation 1 of images/0\.png.*and cut 1 box at the borders"
    )
    with pytest.warns(UserWarning, match=message) as warnings:
        samples = read_coco(root)
    assert len(warnings) == 1
    assert warnings[0].filename == __file__
    assert len(samples.skipped) == 3
    np.testing.assert_array_equal(samples.targets["boxes"], [[[15, 2, 20, 6]], [[1, 1, 5, 5]]])


def test_borders_that_are_rounded_are_cut_in_silence(tmp_path):
    root = write_coco(tmp_path, annotations=[box(10, -0.5, 0, 21, 10.5)])
    np.testing.assert_array_equal(read_coco(root).targets["boxes"][0, 0], [0, 0, 20, 10])


CORNERS = [box(10, 12, 2, 18, 8), box(10, 5, 5, 9, 9), box(11, 10, 1, 19, 9)]


def test_xyxy_is_guessed_and_told(tmp_path):
    root = write_coco(tmp_path, annotations=CORNERS)
    with pytest.warns(UserWarning, match=r"3 of 3 boxes would leave.*fit as \[x1, y1, x2, y2\]"):
        targets = read_coco(root).targets
    np.testing.assert_array_equal(targets["boxes"][0], [[12, 2, 18, 8], [5, 5, 9, 9]])
    told = read_coco(root, box_format="xyxy").targets
    np.testing.assert_array_equal(told["boxes"], targets["boxes"])


def test_xywh_is_believed_when_it_is_told_or_fits(tmp_path):
    root = write_coco(tmp_path, annotations=CORNERS)
    with pytest.warns(UserWarning, match="cut 3 boxes"):
        targets = read_coco(root, box_format="xywh").targets
    np.testing.assert_array_equal(targets["boxes"][0, 0], [12, 2, 20, 10])
    # Two that leave the image, and as corners would be none.
    boxes = [box(10, 12, 2, 10, 1), box(10, 15, 5, 8, 4), box(11, 1, 1, 5, 5)]
    root = write_coco(tmp_path / "other", annotations=boxes)
    with pytest.warns(UserWarning, match="cut 2 boxes"):
        read_coco(root)


def test_class_names_decide_the_labels(tmp_path):
    root = write_coco(tmp_path, annotations=TWO)
    samples = read_coco(root, class_names=["cat", "dog"])
    assert samples.targets["labels"].tolist() == [[0, 1], [1, -1]]
    assert samples.category_ids == [7, 3]
    with pytest.raises(ValueError, match="category 3, 'dog', which class_names lacks"):
        read_coco(root, class_names=["cat"])
    more = read_coco(root, class_names=["cow", "dog", "cat"])
    assert more.targets["labels"].tolist() == [[2, 1], [1, -1]]
    assert more.category_ids == [None, 3, 7]


SIZED = {"id": 10, "file_name": "0.png", "width": 40, "height": 20}
BROKEN = {
    "no_categories": ({"categories": []}, "has no categories"),
    "no_images": ({"images": []}, "lists no images"),
    "no_coco": ({"images": None}, "Expected .* to hold COCO data"),
    "unknown_category": ({"annotations": [box(10, 1, 1, 2, 2, category=1)]}, "categories lack"),
    "unknown_image": ({"annotations": [box(1, 1, 1, 2, 2)]}, "such as image_id 1"),
    "no_bbox": ({"annotations": [{"image_id": 10, "category_id": 3}]}, r"lacks \['bbox'\]"),
    "three_numbers": ({"annotations": [box(10, 1, 1, 2)]}, r"\[x, y, width, height\]"),
    "other_size": ({"images": [SIZED]}, "20 × 10 pixels .* of 40 × 20"),
    "same_id": ({"images": [SIZED, SIZED]}, "two images of the same id"),
    "missing": ({"images": [{"id": 1, "file_name": "x.png"}]}, r"1 of 1 image .* 'x\.png'"),
    "name_of_none": ({"categories": [{"id": 3}]}, r"category 0 lacks \['name'\]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_named(name, tmp_path):
    changes, message = BROKEN[name]
    root = write_coco(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        read_coco(root, "train")


def test_bad_masks_are_named(tmp_path):
    def read(segmentation):
        item = box(10, 2, 0, 6, 4, segmentation=segmentation)
        return read_coco(write_coco(tmp_path, annotations=[item]), masks=True)

    with pytest.raises(ValueError, match=r"boxes alone\. Leave masks out"):
        read(None)
    with pytest.raises(ValueError, match=r"annotation 0 of images/0\.png .* Expected a list"):
        read([[1, 2]])
    with pytest.raises(ValueError, match=r"received \[3, 3\]"):
        read({"size": [3, 3], "counts": [9]})
    with pytest.raises(ValueError, match="Cannot read the mask of annotation 0"):
        read({"size": [10, 20], "counts": [9]})


def test_object_without_mask_is_left_out(tmp_path):
    boxes = [box(10, 2, 0, 2, 3, segmentation=RLE), box(10, 2, 0, 2, 3)]
    with pytest.warns(UserWarning, match="1 without a mask"):
        samples = read_coco(write_coco(tmp_path, annotations=boxes), masks=True)
    assert samples.targets["labels"].tolist() == [[0], [-1]]


def test_split_that_is_not_there(tmp_path):
    root = write_coco(tmp_path)
    with pytest.raises(ValueError, match=r"as val\.json, .* found none among 'train\.json'"):
        read_coco(root, "val")
    shutil.copy(root / "train.json", root / "test.json")
    with pytest.raises(ValueError, match=r"found 'test\.json', 'train\.json'\. Pass split"):
        read_coco(root)
    (root / "train.json").write_text("[")
    with pytest.raises(ValueError, match=r"Cannot read train\.json in .* as JSON"):
        read_coco(root, "train")
    with pytest.raises(ValueError, match="box_format must be one of"):
        read_coco(root, "test", box_format="yxyx")


def test_upright_image_is_compared_with_the_size_told(tmp_path):
    root = write_coco(tmp_path, annotations=TWO)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(root / "images/0.png", exif=exif)
    with pytest.raises(ValueError, match="10 × 20 pixels"):
        read_coco(root)
