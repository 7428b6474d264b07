"""Detection data sets in the layout of PASCAL VOC."""

import os
import xml.etree.ElementTree
from collections.abc import Sequence

from kdl._typing import Path
from kdl._words import some_of
from kdl.data._detection_reader import DetectionReader
from kdl.data._entries import Entries
from kdl.data.detection_samples import DetectionSamples

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_KEYS = ("boxes", "labels", "ignore")
_IMAGES = (".jpg", ".jpeg", ".png")


def read_voc(
    path: Path,
    split: str | int | tuple[int, int] | None = None,
    size: int | tuple[int, int] | Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    letterbox: bool = False,
) -> DetectionSamples:
    """Reads images and boxes from a folder or zip archive in the layout of PASCAL VOC.

    `…/Annotations/*.xml` lie beside `…/JPEGImages/*.jpg` of the same names, and
    `…/ImageSets/Main/<split>.txt` lists those of a split. Boxes are those of the upright image, as
    its EXIF orientation turns it; hidden files are ignored. Images without objects stay, as they
    teach what is background.

    Boxes are cut at the borders of their image. Those without area or outside of it are left out;
    one warning counts both and names the first.

    Args:
        path: A folder or a zip archive.
        split: Name of the split, such as `"train"`; None (default) for all annotations. The order
            of before, `read_voc(path, size, class_names)`, works as well.
        size: Height and width of the images, one integer or two: images are brought to it by the
            means of boxes of pixels, and their boxes with them. None (default) leaves them.
        class_names: Names of the classes in the order of the labels. Defaults to the sorted names
            of all objects, those of other splits included.
        letterbox: If images brought to `size` keep the ratio of their sides, in the upper left
            corner of black ones. Defaults to False: each side by itself.

    Returns:
        The pair `(images, targets)` as `kdl.data.DetectionSamples`, with `class_names`: images in
        the order of their names, uint8 `(samples, height, width, 3)`, or a list if they differ in
        size; and the dict of `"boxes"` float32 `(samples, most, 4)`, xyxy in pixels, `"labels"`
        int64 `(samples, most)` and `"ignore"` bool `(samples, most)`, what is marked as difficult.
        Where an image has fewer than `most` objects, label and box are −1.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If there are no annotations or no such split, an image is missing, a file cannot
            be read, or an object is of a class that `class_names` lacks.
        ImportError: If Pillow is not installed.

    Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> annotation = "<a><object><name>cat</name><bndbox><xmin>2</xmin><ymin>0</ymin>"
        >>> annotation += "<xmax>8</xmax><ymax>4</ymax></bndbox></object></a>"
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for folder in ("Annotations", "JPEGImages"):
        ...         (pathlib.Path(root) / folder).mkdir()
        ...     _ = (pathlib.Path(root) / "Annotations" / "1.xml").write_text(annotation)
        ...     Image.new("RGB", (20, 10)).save(pathlib.Path(root) / "JPEGImages" / "1.jpg")
        ...     images, targets = read_voc(root, size=(5, 10))
        >>> images.shape, targets["boxes"].tolist(), targets["labels"].tolist()
        ((1, 5, 10, 3), [[[1.0, 0.0, 4.0, 2.0]]], [[0]])
    """
    if split is not None and not isinstance(split, str):
        split, size, class_names = None, split, size if class_names is None else class_names
    with Entries(path) as entries:
        names = entries.matching(".xml", parent="Annotations")
        if not names:
            raise ValueError(
                f"Expected annotations in {entries.path} as Annotations/*.xml, beside "
                f"JPEGImages/*.jpg; found none."
            )
        chosen = _of_split(entries, names, split)
        # Without class names, classes are those of all splits, so that their labels agree.
        texts = {name: _objects(entries, name) for name in (chosen if class_names else names)}
        class_names = list(class_names or _class_names(texts))
        if not class_names:
            raise ValueError(
                f"No object of {entries.path} has a name, so that there are no classes: pass "
                f"class_names, or add objects."
            )
        reader = DetectionReader(entries, _KEYS, size, letterbox)
        for name in chosen:
            objects = [
                _object(item, number, name, entries, class_names)
                for number, item in enumerate(texts[name])
            ]
            reader.add(_image_of(entries, name), objects)
        return reader.samples(class_names)


def _of_split(entries, names, split):
    """The annotations that a split lists."""
    if split is None:
        return names
    lists = entries.matching(".txt", parent="Main")
    of_split = [name for name in lists if os.path.basename(name) == f"{split}.txt"]
    if len(of_split) != 1:
        known = [os.path.splitext(os.path.basename(name))[0] for name in lists]
        raise ValueError(
            f"Expected one list of the split {split!r} in {entries.path} as ImageSets/Main/"
            f"{split}.txt; found {len(of_split)}, and the splits {some_of(known) or 'of none'}. "
            f"Leave split out to read all annotations."
        )
    # A line may hold a flag after the name, as the lists of single classes do.
    lines = entries.read(of_split[0]).decode("utf-8", "replace").splitlines()
    wanted = [line.split()[0] for line in lines if line.strip()]
    by_stem = {os.path.splitext(os.path.basename(name))[0]: name for name in names}
    missing = [stem for stem in wanted if stem not in by_stem]
    if missing or not wanted:
        raise ValueError(
            f"{of_split[0]} in {entries.path} lists {len(wanted)} images, of which {len(missing)} "
            f"have no Annotations/*.xml: {some_of(missing) or 'it is empty'}."
        )
    return [by_stem[stem] for stem in sorted(wanted)]


def _image_of(entries, name):
    """The image of an annotation."""
    folder, _, annotation = name.rpartition("Annotations/")
    stem = f"{folder}JPEGImages/{os.path.splitext(annotation)[0]}"
    files = [stem + ending for ending in _IMAGES if stem + ending in entries.names]
    if not files:
        entries.require(f"{stem}.jpg", f"the image of {name}")
    return files[0]


def _class_names(texts):
    names = {item.findtext("name") for objects in texts.values() for item in objects}
    return sorted(name for name in names if name)


def _object(item, number, name, entries, class_names):
    class_name = item.findtext("name")
    if class_name not in class_names:
        raise ValueError(
            f"{name} in {entries.path} has an object of the class {class_name!r}, which is "
            f"none of class_names, {class_names}."
        )
    return {
        "boxes": _corners(item, name, entries),
        "labels": class_names.index(class_name),
        "ignore": (item.findtext("difficult") or "0").strip() == "1",
        "what": f"object {number} ({class_name})",
    }


def _objects(entries, name):
    try:
        return xml.etree.ElementTree.fromstring(entries.read(name)).findall("object")
    except xml.etree.ElementTree.ParseError as error:
        raise ValueError(f"Cannot read {name} in {entries.path} as XML: {error}") from error


def _corners(item, name, entries):
    try:
        return [float(item.findtext(f"bndbox/{corner}")) for corner in _CORNERS]
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} in {entries.path} has an object without the numbers "
            f"{', '.join(_CORNERS)} in a bndbox."
        ) from None
