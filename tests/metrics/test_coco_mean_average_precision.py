import json
import tracemalloc

import keras
import numpy as np
import pytest
from coco_twin import pycocotools_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenes import padded, random_scenes, with_masks

from kdl.metrics import CocoMeanAveragePrecision
from kdl.metrics.coco_mean_average_precision import _Curves, precision_curve
from kdl.ops import encode_rle


def measure(truths, results, batch=7, kind="bbox"):
    metric = CocoMeanAveragePrecision(kind=kind)
    for start in range(0, len(truths["labels"]), batch):
        part = slice(start, start + batch)
        metric.update_state(
            {key: value[part] for key, value in truths.items()},
            {key: value[part] for key, value in results.items()},
        )
    return metric.result()


def assert_equals_pycocotools(truths, results, classes=4, kind="bbox"):
    ours = measure(truths, results, kind=kind)
    theirs = pycocotools_numbers(truths, results, classes, kind)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], abs=1e-10), key
    return ours


@pytest.mark.parametrize("seed", range(6))
def test_random_scenes(seed):
    results = assert_equals_pycocotools(*random_scenes(seed))
    assert 0.05 < results["AP"] < results["AP50"] < 1


@pytest.mark.parametrize("seed", range(10))
def test_scenes_full_of_equal_scores_and_overlaps(seed):
    """On a grid of 16, areas of exactly 32² and 96² occur, and overlaps that are equal."""
    assert_equals_pycocotools(*random_scenes(seed, classes=2, grid=16))


@pytest.mark.parametrize("swapped", [False, True])
def test_equal_overlaps_take_the_last(swapped):
    """The first detection fits both ground truths alike, the second the right one only."""
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10]], "float64")
    truths = {"boxes": [boxes[::-1] if swapped else boxes], "labels": [np.zeros(2)]}
    results = {
        "boxes": [np.array([[2, 0, 12, 10], [5, 0, 15, 10]], "float64")],
        "labels": [np.zeros(2)],
        "scores": [np.array([0.9, 0.8])],
    }
    numbers = assert_equals_pycocotools(truths, results, 1)
    # Both overlap by 2/3, enough at four thresholds: the second finds its own there if it is free.
    assert numbers["AR100"] == pytest.approx(0.55 if swapped else 0.35)


def test_more_detections_than_count():
    truths, results = random_scenes(3, images=4, classes=2, truths=80, detections=400)
    assert max(map(len, results["boxes"])) > 250
    assert_equals_pycocotools(truths, results, 2)


def test_without_crowds_and_areas():
    truths, results = random_scenes(4)
    assert_equals_pycocotools({key: truths[key] for key in ("boxes", "labels")}, results)


def test_only_crowds():
    truths, results = random_scenes(5)
    truths["crowd"] = [np.ones(len(item)) for item in truths["labels"]]
    assert set(assert_equals_pycocotools(truths, results).values()) == {-1}


def test_classes_that_are_absent():
    """Of class 9 there are detections only, of class 8 ground truth only, of class 7 neither."""
    truths, results = random_scenes(6)
    results["labels"] = [np.where(item == 0, 9, item) for item in results["labels"]]
    truths["labels"] = [np.where(item == 1, 8, item) for item in truths["labels"]]
    assert_equals_pycocotools(truths, results, 10)


def test_no_detections_and_no_ground_truth():
    truths, results = random_scenes(7)
    none = {key: [item[:0] for item in results[key]] for key in results}
    assert assert_equals_pycocotools(truths, none)["AP"] == 0
    empty = {key: [item[:0] for item in truths[key]] for key in truths}
    assert assert_equals_pycocotools(empty, results)["AP"] == -1
    assert assert_equals_pycocotools(empty, none)["AR100"] == -1
    assert set(CocoMeanAveragePrecision().result().values()) == {-1}


def test_zero_sides():
    truths, results = random_scenes(8)
    for boxes in (*truths["boxes"], *results["boxes"]):
        boxes[::3, 2] = boxes[::3, 0]
    assert_equals_pycocotools(truths, results)


def test_padded_arrays_of_the_backend():
    truths, results = random_scenes(9)
    tensors = [
        {key: keras.ops.convert_to_tensor(value, "float32") for key, value in padded(item).items()}
        for item in (truths, results)
    ]
    ours, lists = measure(*tensors), measure(truths, results)
    for key, value in ours.items():
        assert value == pytest.approx(lists[key], abs=1e-3), key


def test_worked_curve():
    flags = np.array([1, 0, 1, 1, 0, 0, 1], bool)[:, None]
    precision, recall = precision_curve(flags, ~flags, 5)
    assert precision[0].mean() == pytest.approx(0.6181047, abs=1e-7)
    assert recall[0] == 0.8


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_properties(seed):
    """The order of images and of boxes does not matter where no scores are equal."""
    truths, results = random_scenes(seed, images=6)
    numbers = measure(truths, results)
    assert all(value == -1 or 0 <= value <= 1 for value in numbers.values())
    rng = np.random.default_rng(seed)
    images = rng.permutation(6)
    for scenes in (truths, results):
        orders = [rng.permutation(len(item)) for item in scenes["labels"]]
        for key, values in scenes.items():
            scenes[key] = [values[i][orders[i]] for i in images]
    mixed = measure(truths, results)
    for key, value in numbers.items():
        assert mixed[key] == pytest.approx(value, abs=1e-12), key


def test_config():
    metric = CocoMeanAveragePrecision(name="coco")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(copy) is CocoMeanAveragePrecision
    assert copy.get_config() == metric.get_config()


GOOD = (
    {"boxes": np.array([[[0, 0, 2, 2.0]]]), "labels": np.array([[0]])},
    {
        "boxes": np.array([[[0, 0, 2, 2.0]]]),
        "labels": np.array([[0]]),
        "scores": np.array([[0.5]]),
    },
)


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, {"boxes": [[[2, 0, 0, 2]]]}, r'y_true\["boxes"\] must be finite \(x1, y1, x2, y2\)'),
        (1, {"boxes": [[[0, 0, np.nan, 2]]]}, r'y_pred\["boxes"\] must be finite'),
        (1, {"boxes": [[[0, 0, np.inf, 2]]]}, r'y_pred\["boxes"\] must be finite'),
        (1, {"boxes": [[[0, 0, 2]]]}, r'y_pred\["boxes"\] must hold four numbers for each label'),
        (1, {"boxes": [[[0, 0, 2, 2]] * 2]}, r'y_pred\["boxes"\] must hold four numbers'),
        (1, {"scores": [[np.nan]]}, r'y_pred\["scores"\] must hold numbers'),
        (1, {"scores": [[0.5, 0.5]]}, r'y_pred\["scores"\] must hold a number'),
        (0, {"area": [[np.nan]]}, r'y_true\["area"\] must hold numbers'),
        (0, {"labels": [[0.5]]}, r'y_true\["labels"\] must be whole numbers; received 0.5'),
        (0, {"labels": [[np.nan]]}, r'y_true\["labels"\] must be whole numbers'),
        (0, {"labels": [0]}, r'y_true\["labels"\] must be \(images, N\)'),
        (0, {"labels": 0}, r'y_true\["labels"\] must hold an array for each image'),
        (0, {"boxes": [[[0, 0, 1, 1]]] * 2, "labels": [[0]] * 2}, "as many images; received 2"),
    ],
)
def test_bad_input(which, change, message):
    batch = [dict(item) for item in GOOD]
    batch[which].update({key: np.array(value, "float64") for key, value in change.items()})
    with pytest.raises(ValueError, match=message):
        CocoMeanAveragePrecision().update_state(*batch)


def test_missing_keys():
    with pytest.raises(ValueError, match=r"y_pred must be a dict with .*'scores'"):
        CocoMeanAveragePrecision().update_state(GOOD[0], GOOD[0])
    with pytest.raises(ValueError, match=r"y_true must be a dict with .*; received ndarray"):
        CocoMeanAveragePrecision().update_state(np.zeros((1, 1, 5)), GOOD[1])


# --- masks ----------------------------------------------------------------------------------------

SIZE = (150, 170)


def mask_scenes(seed, **arguments):
    truths, results = random_scenes(seed, size=100, **arguments)
    return with_masks(truths, SIZE), with_masks(results, SIZE)


def without_boxes(scenes):
    return {key: value for key, value in scenes.items() if key != "boxes"}


@pytest.mark.parametrize("seed", range(3))
def test_masks_of_random_scenes_equal_pycocotools(seed):
    truths, results = mask_scenes(seed)
    numbers = assert_equals_pycocotools(truths, results, kind="segm")
    assert 0.05 < numbers["AP"] < numbers["AP50"] < 1
    assert numbers["APs"] != numbers["APl"]
    assert numbers != measure(truths, results)


def test_masks_full_of_equal_scores_and_overlaps_equal_pycocotools():
    truths, results = mask_scenes(3, classes=2, grid=16)
    del truths["area"]  # by default the mask's
    assert_equals_pycocotools(truths, results, 2, "segm")


def test_masks_that_are_empty_equal_pycocotools():
    truths, results = mask_scenes(4, images=5)
    for masks in (*truths["masks"], *results["masks"]):
        masks[::3] = False
    assert_equals_pycocotools(truths, results, kind="segm")
    none = {key: [item[:0] for item in results[key]] for key in results}
    assert assert_equals_pycocotools(truths, none, kind="segm")["AP"] == 0


@pytest.fixture(scope="module")
def golden(root):
    arrays = dict(np.load(root / "tests" / "golden" / "detection" / "ops_masks.npz"))
    return arrays, json.loads(bytes(arrays["meta"]).decode())


def toy_set(meta):
    """Ground truths and detections of the golden file: lists with an array for each image."""
    images = [image["id"] for image in meta["data"]["images"]]
    both = []
    for rows in (meta["data"]["annotations"], meta["detections"]):
        of_images = [[row for row in rows if row["image_id"] == image] for image in images]
        table = {
            "boxes": [np.reshape([row["bbox"] for row in rows], (-1, 4)) for rows in of_images],
            "labels": [np.array([row["category_id"] for row in rows]) for rows in of_images],
            "masks": [[row["segmentation"] for row in rows] for rows in of_images],
        }
        for boxes in table["boxes"]:
            boxes[:, 2:] += boxes[:, :2]
        for key, name in (("crowd", "iscrowd"), ("area", "area"), ("scores", "score")):
            if name in rows[0]:
                table[key] = [np.array([row[name] for row in rows]) for rows in of_images]
        both.append(table)
    return both


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_numbers_and_curves_are_those_of_the_golden_file(kind, golden):
    arrays, meta = golden
    truths, results = toy_set(meta)
    numbers = measure(truths, results, 4, kind)
    assert list(numbers) == meta["stats_order"].split()
    for key, expected in zip(numbers, meta["stats"][kind], strict=True):
        assert numbers[key] == pytest.approx(expected, abs=1e-12), key
    metric = CocoMeanAveragePrecision(kind=kind)
    host = map(metric._on_host, (truths, results))
    (_, truths), (_, results) = metric.collect(*host)
    curves = _Curves(truths, results)._measure("all", 100)
    for name in ("precision", "recall"):
        expected = np.moveaxis(arrays[f"{name}_{kind}"], -1, 0)  # classes first
        np.testing.assert_allclose(curves[name], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.every_backend
def test_masks_as_tensors_lists_or_run_lengths_give_equal_numbers():
    truths, results = map(without_boxes, mask_scenes(5, images=6))
    expected = measure(truths, results, kind="segm")
    assert expected["AP"] > 0.01
    rles = [
        {**item, "masks": [[encode_rle(mask) for mask in masks] for masks in item["masks"]]}
        for item in (truths, results)
    ]
    assert measure(*rles, kind="segm") == expected
    most = max(len(labels) for item in (truths, results) for labels in item["labels"])
    tensors = []
    for item in (truths, results):
        masks = np.zeros((6, most, *SIZE), bool)
        table = {key: np.full((6, most), -1.0) for key in item if key != "masks"}
        for image, labels in enumerate(item["labels"]):
            masks[image, : len(labels)] = item["masks"][image]
            for key, values in table.items():
                values[image, : len(labels)] = item[key][image]
        tensors.append(keras.tree.map_structure(keras.ops.convert_to_tensor, table))
        tensors[-1]["masks"] = keras.ops.convert_to_tensor(masks)
    ours = measure(*tensors, kind="segm")
    for key, value in expected.items():
        assert ours[key] == pytest.approx(value, abs=1e-6), key


def test_padded_rows_need_no_run_lengths():
    one = [[encode_rle(np.ones((2, 2))), None]]
    truth = {"labels": [[3, -1]], "masks": one}
    metric = CocoMeanAveragePrecision(kind="segm")
    metric.update_state(truth, {**truth, "scores": [[0.5, -1]]})
    assert metric.result()["AP"] == pytest.approx(1)


def test_area_of_detections_may_be_given():
    """An unmatched detection counts for its own range of areas."""
    truth = {"labels": [[0]], "masks": np.ones((1, 1, 40, 40))}
    masks = np.zeros((1, 2, 40, 40))
    masks[0, 0], masks[0, 1, :8] = 1, 1
    found = {"labels": [[0, 0]], "masks": masks, "scores": [[0.5, 0.9]]}
    for area, expected in ((None, 1.0), ([[1600, 1200]], 0.5)):
        metric = CocoMeanAveragePrecision(kind="segm")
        metric.update_state(truth, found if area is None else {**found, "area": area})
        assert metric.result()["APm"] == pytest.approx(expected, abs=1e-9)


def test_masks_are_held_as_run_lengths():
    masks = np.zeros((1, 20, 500, 500), bool)
    masks[..., 100:300, 50:400] = True
    truth = {"labels": np.zeros((1, 20)), "masks": masks}
    metric = CocoMeanAveragePrecision(kind="segm")
    metric.update_state(truth, {**truth, "scores": np.ones((1, 20))})
    tracemalloc.start()
    for _ in range(3):
        metric.update_state(truth, {**truth, "scores": np.ones((1, 20))})
    assert tracemalloc.get_traced_memory()[0] < 3 * 2 * 20 * 5000  # as bytes: a quarter million
    tracemalloc.stop()


def test_kind_is_saved():
    metric = CocoMeanAveragePrecision(kind="segm")
    assert keras.metrics.deserialize(keras.metrics.serialize(metric)).kind == "segm"
    with pytest.raises(ValueError, match="kind must be one of 'bbox', 'segm'; received 'mask'"):
        CocoMeanAveragePrecision(kind="mask")


SQUARE = {"size": [2, 2], "counts": [0, 4]}


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (None, r"y_true must be a dict with \['masks', 'labels'\]; received \['labels'\]"),
        ([], r"y_true\[\"masks\"\] must hold the masks of each of 1 images; received 0"),
        ([5], r"y_true\[\"masks\"\] must hold a mask for each label.* received 0 masks"),
        ([[5]], r"y_true\[\"masks\"\]: a mask must have the shape"),
        ([[]], r"y_true\[\"masks\"\] must hold a mask for each label.* received 0 masks"),
        ([[{"size": [2, 2], "counts": [3]}]], r"y_true\[\"masks\"\]: Counts must be .* sum of 3"),
        ([[None]], r"y_true\[\"masks\"\]: a mask must have the shape"),
        (np.full((1, 1, 2, 2), 0.5), r"y_true\[\"masks\"\]: a mask must hold 0 and 1"),
        (np.ones((1, 2, 2)), r"y_true\[\"masks\"\]"),
        (np.ones((1, 1, 2, 3)), r"of one size, .* received \[2, 2\] beside \[2, 3\] in image 0"),
    ],
)
def test_broken_masks_raise(masks, message):
    truth = {"labels": [[0]]} if masks is None else {"labels": [[0]], "masks": masks}
    found = {"labels": [[0]], "masks": [[SQUARE]], "scores": [[0.5]]}
    with pytest.raises(ValueError, match=message):
        CocoMeanAveragePrecision(kind="segm").update_state(truth, found)
