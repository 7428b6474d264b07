"""Small COCO data sets for tests."""

import json

from PIL import Image


def write_coco(root, split="train", sizes=((20, 10), (20, 10)), annotations=(), **changes):
    """Images of these (width, height) in `images/`, and `<split>.json` beside it.

    Ids of images begin at 10; categories are `dog` (3) and `cat` (7). `changes` replace what the
    file holds.
    """
    (root / "images").mkdir(parents=True, exist_ok=True)
    images = []
    for number, (width, height) in enumerate(sizes):
        name = f"{number}.png"
        Image.new("RGB", (width, height), (50 * number + 50,) * 3).save(root / "images" / name)
        images.append({"id": 10 + number, "file_name": name, "width": width, "height": height})
    data = {
        "images": images,
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [{"id": n, **item} for n, item in enumerate(annotations)],
        **changes,
    }
    (root / f"{split}.json").write_text(json.dumps(data))
    return root


def box(image, *bbox, category=3, **more):
    """An annotation."""
    return {"image_id": image, "category_id": category, "bbox": list(bbox), **more}
