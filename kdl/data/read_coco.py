"""Detection data sets in the format of COCO."""

import json
import posixpath
from collections.abc import Sequence

import numpy as np

from kdl._checks import check_choice
from kdl._typing import Path
from kdl._warn import warn
from kdl._words import counted, some_of
from kdl.data._detection_reader import DetectionReader
from kdl.data._entries import Entries
from kdl.data.detection_samples import DetectionSamples

_FORMATS = (None, "xywh", "xyxy")
_OPTIONAL = {"visible_boxes": "vis_bbox", "visibility": "visibility"}
# Share of the boxes that leave their images from which on they are thought to be xyxy.
_SUSPICIOUS = 0.05


def read_coco(
    path: Path,
    split: str | None = None,
    size: int | tuple[int, int] | None = None,
    masks: bool = False,
    class_names: Sequence[str] | None = None,
    box_format: str | None = None,
    letterbox: bool = False,
) -> DetectionSamples:
    """Reads images, boxes and masks from a folder or zip archive in the format of COCO.

    The JSON file of a split is `<split>.json`, `instances_<split>.json` (also with a year,
    `instances_train2017.json`) or the only one in the folder `<split>`
    (`train/_annotations.coco.json`), anywhere in `path`. Images are looked for from its folder on,
    from the one above, in `images` or the split's folder there, and by their name alone.

    Images without objects stay, as they teach what is background. Classes are the categories in
    the order of their ids, which may have gaps. Boxes are cut at the borders of their image; those
    without area or outside of it are left out, and one warning counts both and names the first.

    Args:
        path: A folder or a zip archive.
        split: Name of the split, such as `"train"`. None (default) takes the only JSON file.
        size: Height and width to which all are brought, one integer or two: images by the means of
            boxes of pixels, masks by the nearest pixel, and boxes with them. None (default) leaves
            them.
        masks: If the masks of objects are read: polygons, and run lengths as lists or compressed.
            Defaults to False.
        class_names: Names of the classes in the order of the labels, such as those of another
            split; the file may lack some. Defaults to all categories.
        box_format: What `"bbox"` holds, `"xywh"` as COCO has it, or `"xyxy"`. Defaults to None:
            xywh, unless many boxes would leave their images and as xyxy they do not, which a
            warning tells.
        letterbox: If images brought to `size` keep the ratio of their sides, in the upper left
            corner of black ones. Defaults to False: each side by itself.

    Returns:
        The pair `(images, targets)` as `kdl.data.DetectionSamples`, with `class_names`,
        `image_ids` and `category_ids`: images in the order of the file, uint8 `(samples, height,
        width, 3)`, or a list if they differ in size; and a dict, with −1 for labels and boxes where
        an image has fewer than `most` objects:

        - `"boxes"`: float32 `(samples, most, 4)`, xyxy in pixels of the images returned.
        - `"labels"`: int64 `(samples, most)`, `0 … K − 1`.
        - `"crowd"`: bool `(samples, most)`, what `"iscrowd"` marks, and `"ignore"`, which is true
          for these and for what `"ignore"` marks.
        - `"area"`: float32 `(samples, most)`, in pixels; of the box where the file tells none.
        - `"visible_boxes"`: as boxes, if the file has `"vis_bbox"`; −1 where it has none. So is
          `"visibility"`, float32 `(samples, most)`.
        - `"masks"`: if asked for, a sequence with a bool array `(objects, height, width)` for each
          image. It holds no padding, and keeps only what is within the extents of objects.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If there is no JSON file of the split or more than one, it holds no COCO data or
            no categories, images are missing or of another size than it tells, an object is of a
            class that `class_names` lacks, or masks are asked for and there are none.
        ImportError: If Pillow is not installed.

    Source: Lin et al., Microsoft COCO (arXiv 1405.0312); cocodataset.org/#format-data.

    Example:
        >>> import json, pathlib, tempfile
        >>> from PIL import Image
        >>> data = {
        ...     "images": [{"id": 5, "file_name": "a.png", "width": 20, "height": 10}],
        ...     "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        ...     "annotations": [{"id": 1, "image_id": 5, "category_id": 7, "bbox": [2, 0, 6, 4]}],
        ... }
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (pathlib.Path(root) / "images").mkdir()
        ...     _ = (pathlib.Path(root) / "train.json").write_text(json.dumps(data))
        ...     Image.new("RGB", (20, 10)).save(pathlib.Path(root) / "images" / "a.png")
        ...     samples = read_coco(root, "train")
        >>> images, targets = samples
        >>> images.shape, targets["boxes"].tolist(), targets["labels"].tolist()
        ((1, 10, 20, 3), [[[2.0, 0.0, 8.0, 4.0]]], [[1]])
        >>> samples.class_names, samples.category_ids
        (['cat', 'dog'], [3, 7])
    """
    check_choice("box_format", box_format, _FORMATS)
    with Entries(path) as entries:
        file = _file_of(entries, split)
        data = _Annotations(entries, file, class_names, box_format, masks)
        files = _image_files(entries, file, split, data.images)
        reader = DetectionReader(entries, data.keys, size, letterbox, masks)
        for image, name in zip(data.images, files, strict=True):
            reader.add(name, data.objects[image["id"]], _declared_size(image))
        return reader.samples(
            data.class_names,
            image_ids=[image["id"] for image in data.images],
            category_ids=data.category_ids,
        )


class _Annotations:
    """What a COCO file holds, checked.

    Attributes:
        images: Its images, dicts with `"id"` and `"file_name"`.
        objects: Dict: id of an image → its objects, as `DetectionReader.add` takes them.
        class_names: Names of the classes in the order of the labels.
        category_ids: Their ids.
        keys: Keys of the truth.
    """

    def __init__(self, entries, file, class_names, box_format, masks):
        self._where = f"{file} in {entries.path}"
        data = self._parsed(entries, file)
        self.images = data["images"]
        annotations = data.get("annotations") or []
        self._check(self.images, ("id", "file_name"), "image")
        self._check(annotations, ("image_id", "category_id", "bbox"), "annotation")
        labels = self._labels(data.get("categories"), class_names)
        self.objects = {image["id"]: [] for image in self.images}
        self._check_images(annotations)
        if masks and annotations and not any(item.get("segmentation") for item in annotations):
            raise ValueError(
                f"No annotation of {self._where} has a segmentation: there are boxes alone. Leave "
                f"masks out."
            )
        boxes = self._boxes(annotations, box_format)
        optional = {
            key: name
            for key, name in _OPTIONAL.items()
            if any(item.get(name) is not None for item in annotations)
        }
        self.keys = ("boxes", "labels", "ignore", "crowd", "area", *optional)
        for number, (item, box) in enumerate(zip(annotations, boxes, strict=True)):
            row = self._row(item, box, number, labels, optional)
            self.objects[item["image_id"]].append(row)

    def _parsed(self, entries, file):
        try:
            data = json.loads(entries.read(file))
        except ValueError as error:
            raise ValueError(f"Cannot read {self._where} as JSON: {error}") from error
        if not isinstance(data, dict) or not isinstance(data.get("images"), list):
            held = sorted(data) if isinstance(data, dict) else f"a {type(data).__name__}"
            raise ValueError(
                f'Expected {self._where} to hold COCO data, a dict with "images", "annotations" '
                f'and "categories"; it holds {held}.'
            )
        if not data["images"]:
            raise ValueError(f"{self._where} lists no images.")
        return data

    def _check(self, items, keys, noun):
        """Raise unless all items have these keys."""
        for number, item in enumerate(items):
            missing = [key for key in keys if not isinstance(item, dict) or key not in item]
            if missing:
                raise ValueError(
                    f"Expected each {noun} of {self._where} to have {list(keys)}; {noun} {number} "
                    f"lacks {missing}."
                )

    def _labels(self, categories, class_names):
        """Dict: id of a category → label, or None if `class_names` lacks it."""
        if not categories:
            raise ValueError(
                f"{self._where} has no categories, so that its objects have no classes. Add "
                f'"categories": [{{"id": 1, "name": "cat"}}, …] with all the ids that its '
                f"annotations have."
            )
        self._check(categories, ("id", "name"), "category")
        categories = sorted(categories, key=lambda category: category["id"])
        # Two ids of one name are one class.
        names = list(dict.fromkeys(category["name"] for category in categories))
        self.class_names = list(class_names or names)
        ids = {category["name"]: category["id"] for category in reversed(categories)}
        self.category_ids = [ids.get(name) for name in self.class_names]
        places = {name: label for label, name in enumerate(self.class_names)}
        self._names = {category["id"]: category["name"] for category in categories}
        return {number: places.get(name) for number, name in self._names.items()}

    def _check_images(self, annotations):
        if len(self.objects) != len(self.images):
            raise ValueError(f"{self._where} has two images of the same id.")
        lost = [item["image_id"] for item in annotations if item["image_id"] not in self.objects]
        if lost:
            raise ValueError(
                f"{len(lost)} annotations of {self._where} are of images that it does not list, "
                f"such as image_id {lost[0]!r}. Remove them, or add the images."
            )

    def _boxes(self, annotations, box_format):
        """The boxes as xyxy, float64 `(annotations, 4)`."""
        try:
            boxes = np.array([item["bbox"] for item in annotations], "float64").reshape(-1, 4)
        except (TypeError, ValueError):
            raise ValueError(
                f"Expected each bbox of {self._where} to be four numbers, [x, y, width, height]."
            ) from None
        if box_format is None:
            box_format = self._guessed_format(boxes, annotations)
        self._box_format = box_format
        return self._corners(boxes)

    def _corners(self, boxes):
        """Boxes of the file, as xyxy."""
        if self._box_format == "xyxy":
            return boxes
        return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)

    def _guessed_format(self, boxes, annotations):
        """`"xyxy"` if many boxes leave their images as xywh, and far fewer are wrong as xyxy."""
        declared = {image["id"]: _declared_size(image) for image in self.images}
        rows = [row for row, item in enumerate(annotations) if declared[item["image_id"]]]
        if not rows:
            return "xywh"
        boxes = boxes[rows]
        borders = np.array([declared[annotations[row]["image_id"]][::-1] for row in rows]) + 1
        leaves = (boxes[:, :2] + boxes[:, 2:] > borders).any(1)
        no_corners = (boxes[:, 2:] <= boxes[:, :2]).any(1) | (boxes[:, 2:] > borders).any(1)
        if leaves.mean() <= max(_SUSPICIOUS, 10 * no_corners.mean()):
            return "xywh"
        warn(
            f"{self._where}: {leaves.sum()} of {counted(len(rows), 'box', 'boxes')} would leave "
            f"their images as [x, y, width, height], as COCO has them, but {(~no_corners).sum()} "
            f"fit as [x1, y1, x2, y2]: they are read so. Pass box_format to say which they are."
        )
        return "xyxy"

    def _row(self, item, box, number, labels, optional):
        what = f"annotation {item.get('id', number)}"
        label = labels.get(item["category_id"])
        if label is None:
            known = item["category_id"] in self._names
            raise ValueError(
                f"{what} of {self._where} is of the category {item['category_id']!r}, "
                + (
                    f"{self._names[item['category_id']]!r}, which class_names lacks."
                    if known
                    else "which its categories lack."
                )
            )
        crowd = bool(item.get("iscrowd", 0))
        area = item.get("area")
        row = {
            "boxes": box,
            "labels": label,
            "crowd": crowd,
            "ignore": crowd or bool(item.get("ignore", 0)),
            "area": np.prod(box[2:] - box[:2]) if area is None else area,
            "segmentation": item.get("segmentation"),
            "what": what,
        }
        if "visible_boxes" in optional:
            visible = item.get("vis_bbox")
            nothing = np.full(4, -1.0)
            row["visible_boxes"] = self._corners(np.float64(visible)) if visible else nothing
        if "visibility" in optional:
            row["visibility"] = item.get("visibility", -1)
        return row


def _file_of(entries, split):
    """The JSON file of a split."""
    files = entries.matching(".json")
    chosen = files if split is None else _of_split(files, split)
    if len(chosen) == 1:
        return chosen[0]
    name = split or "<split>"
    raise ValueError(
        f"Expected one COCO file in {entries.path}, as {name}.json, annotations/instances_{name}"
        f".json or {name}/_annotations.coco.json; found {some_of(chosen) or 'none'}"
        + (f" among {some_of(files)}." if split and files else ".")
        + (" Pass split, the name of one." if split is None and files else "")
    )


def _of_split(files, split):
    """The files that may hold a split: those of the first layout of which there are any."""
    stems = {file: posixpath.basename(file)[: -len(".json")] for file in files}
    years = {file: stem.removeprefix("instances_") for file, stem in stems.items()}
    layouts = (
        [file for file in files if stems[file] == split],
        [file for file in files if years[file] == split],
        [file for file in files if years[file].rstrip("0123456789") == split],
        [file for file in files if posixpath.basename(posixpath.dirname(file)) == split],
    )
    return next((layout for layout in layouts if layout), [])


def _image_files(entries, file, split, images):
    """The files of all images; ValueError if some are missing."""
    names = set(entries.names)
    by_name = {}
    for name in entries.names:
        by_name.setdefault(posixpath.basename(name), []).append(name)
    here = posixpath.dirname(file)
    bases = [here, posixpath.dirname(here)]
    stem = posixpath.basename(file)[: -len(".json")].removeprefix("instances_")
    folders = ["", "images", stem, f"images/{stem}", *([split, f"images/{split}"] if split else [])]

    def find(image):
        declared = str(image["file_name"]).replace("\\", "/")
        for base in bases:
            for folder in folders:
                name = posixpath.normpath(posixpath.join(base, folder, declared))
                if name in names:
                    return name
        same = by_name.get(posixpath.basename(declared), [])
        return same[0] if len(same) == 1 else None

    files = [find(image) for image in images]
    lost = [image["file_name"] for image, name in zip(images, files, strict=True) if not name]
    if lost:
        raise ValueError(
            f"{len(lost)} of {counted(len(images), 'image')} of {file} are not in {entries.path}, "
            f"or there are several of their names: {some_of(lost)}. Put them into the folder "
            f"images, or remove them and their annotations from {file}."
        )
    return files


def _declared_size(image):
    """`(height, width)` that the file tells of an image, or None."""
    height, width = image.get("height"), image.get("width")
    return (height, width) if height and width else None
