"""pycocotools on the arrays that kdl's metric takes."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def pycocotools_numbers(truths, results, classes):
    """The twelve numbers. Both are dicts of lists with an array for each image."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truths["labels"]))],
            "categories": [{"id": c} for c in range(classes)],
            "annotations": list(_annotations(truths)),
        }
        coco.createIndex()
        copy = COCO()
        copy.dataset = {**coco.dataset, "annotations": list(_detections(results))}
        copy.createIndex()
        evaluation = COCOeval(coco, copy, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats, strict=True))


def _annotations(truths):
    number = 0
    for image, boxes in enumerate(truths["boxes"]):
        for row, (x1, y1, x2, y2) in enumerate(np.asarray(boxes, "float64").tolist()):
            number += 1
            area = truths["area"][image][row] if "area" in truths else (x2 - x1) * (y2 - y1)
            yield {
                "id": number,
                "image_id": image,
                "category_id": int(truths["labels"][image][row]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(area),
                "iscrowd": int(truths["crowd"][image][row]) if "crowd" in truths else 0,
            }


def _detections(results):
    number = 0
    for image, boxes in enumerate(results["boxes"]):
        for row, (x1, y1, x2, y2) in enumerate(np.asarray(boxes, "float64").tolist()):
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": int(results["labels"][image][row]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "score": float(results["scores"][image][row]),
                "iscrowd": 0,
            }
