"""Detection data sets in the layout of PASCAL VOC."""

import os
import xml.etree.ElementTree
from collections.abc import Sequence

import numpy as np

from kdl._typing import Path
from kdl.data._entries import Entries, check_size, rgb_array

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(
    path: Path, size: int | tuple[int, int], class_names: Sequence[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Reads images and boxes from a folder or zip archive in the layout of PASCAL VOC.

    `…/Annotations/*.xml` lie beside `…/JPEGImages/*.jpg` of the same names. Images are brought to
    one size by the means of boxes of pixels, and their boxes with them; the share of height and
    width is not kept. Boxes are those of the upright image, as its EXIF orientation turns it;
    hidden files are ignored.

    Args:
        path: A folder or a zip archive.
        size: Height and width of the images, one integer or two.
        class_names: Names of the classes in the order of the labels.

    Returns:
        `(images, targets)`: uint8 `(samples, height, width, 3)` by their names, and the dict of
        `"boxes"` float32 `(samples, most, 4)`, xyxy in pixels of the resized images, and
        `"labels"` int64 `(samples, most)`. Where an image has fewer than `most` objects, label and
        box are −1.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If there are no annotations, an image is missing, a file cannot be read, or an
            object is of a class that `class_names` lacks.
        ImportError: If Pillow is not installed.

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
        ...     images, targets = read_voc(root, (5, 10), ["cat"])
        >>> images.shape, targets["boxes"].tolist(), targets["labels"].tolist()
        ((1, 5, 10, 3), [[[1.0, 0.0, 4.0, 2.0]]], [[0]])
    """
    size, class_names = check_size(size), list(class_names)
    with Entries(path) as entries:
        names = entries.matching(".xml", parent="Annotations")
        if not names:
            raise ValueError(
                f"Expected annotations in {entries.path} as Annotations/*.xml, beside "
                f"JPEGImages/*.jpg; found none."
            )
        samples = [_read_sample(entries, name, size, class_names) for name in names]
    most = max(max(len(labels) for _, _, labels in samples), 1)
    boxes = np.full((len(samples), most, 4), -1, "float32")
    labels = np.full((len(samples), most), -1, "int64")
    for row, (_, of_image, classes) in enumerate(samples):
        boxes[row, : len(classes)] = np.reshape(of_image, (-1, 4))
        labels[row, : len(classes)] = classes
    return np.stack([image for image, _, _ in samples]), {"boxes": boxes, "labels": labels}


def _read_sample(entries, name, size, class_names):
    """Image, boxes and labels of one annotation."""
    folder, _, annotation = name.rpartition("Annotations/")
    file = f"{folder}JPEGImages/{os.path.splitext(annotation)[0]}.jpg"
    entries.require(file, f"the image of {name}")
    image = entries.open_image(file)
    scale = np.array([size[1] / image.width, size[0] / image.height] * 2)
    boxes, labels = [], []
    for item in _objects(entries, name):
        class_name = item.findtext("name")
        if class_name not in class_names:
            raise ValueError(
                f"{name} in {entries.path} has an object of the class {class_name!r}, which is "
                f"none of class_names, {class_names}."
            )
        boxes.append(scale * _corners(item, name, entries))
        labels.append(class_names.index(class_name))
    return rgb_array(image, size), boxes, labels


def _objects(entries, name):
    try:
        return xml.etree.ElementTree.fromstring(entries.read(name)).findall("object")
    except xml.etree.ElementTree.ParseError as error:
        raise ValueError(f"Cannot read {name} in {entries.path} as XML: {error}") from error


def _corners(item, name, entries):
    try:
        return np.array([float(item.findtext(f"bndbox/{corner}")) for corner in _CORNERS])
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} in {entries.path} has an object without the numbers "
            f"{', '.join(_CORNERS)} in a bndbox."
        ) from None
