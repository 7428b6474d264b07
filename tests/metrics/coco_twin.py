"""pycocotools on the arrays that kdl's metric takes."""

import contextlib
import io

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def pycocotools_numbers(truths, results, classes, kind="bbox"):
    """The twelve numbers. Both are dicts of lists with an array for each image."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i, "height": 1, "width": 1} for i in range(len(truths["labels"]))],
            "categories": [{"id": c} for c in range(classes)],
            "annotations": list(_annotations(truths)),
        }
        coco.createIndex()
        copy = COCO()
        copy.dataset = {**coco.dataset, "annotations": list(_detections(results))}
        copy.createIndex()
        evaluation = COCOeval(coco, copy, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats, strict=True))


def _annotations(truths):
    number = 0
    for image, boxes in enumerate(truths["boxes"]):
        for row, box in enumerate(np.asarray(boxes, "float64").tolist()):
            number += 1
            shape = _shape(truths, image, row, box)
            if "area" in truths:
                shape["area"] = float(truths["area"][image][row])
            yield {
                **shape,
                "id": number,
                "image_id": image,
                "category_id": int(truths["labels"][image][row]),
                "iscrowd": int(truths["crowd"][image][row]) if "crowd" in truths else 0,
            }


def _detections(results):
    number = 0
    for image, boxes in enumerate(results["boxes"]):
        for row, box in enumerate(np.asarray(boxes, "float64").tolist()):
            number += 1
            yield {
                **_shape(results, image, row, box),
                "id": number,
                "image_id": image,
                "category_id": int(results["labels"][image][row]),
                "score": float(results["scores"][image][row]),
                "iscrowd": 0,
            }


def _shape(table, image, row, box):
    """Box and its area, or the mask, if there are some, and its area."""
    x1, y1, x2, y2 = box
    shape = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
    if "masks" in table:
        code = mask.encode(np.asfortranarray(table["masks"][image][row], "uint8"))
        shape |= {"segmentation": code, "area": float(mask.area(code))}
    return shape
