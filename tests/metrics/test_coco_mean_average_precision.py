import keras
import numpy as np
import pytest
from coco_twin import pycocotools_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenes import padded, random_scenes

from kdl.metrics import CocoMeanAveragePrecision
from kdl.metrics.coco_mean_average_precision import average_precision


def measure(truths, results, batch=7):
    metric = CocoMeanAveragePrecision()
    for start in range(0, len(truths["boxes"]), batch):
        part = slice(start, start + batch)
        metric.update_state(
            {key: value[part] for key, value in truths.items()},
            {key: value[part] for key, value in results.items()},
        )
    return metric.result()


def assert_equals_pycocotools(truths, results, classes=4):
    ours, theirs = measure(truths, results), pycocotools_numbers(truths, results, classes)
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
    precision, recall = average_precision(flags, ~flags, 5)
    assert precision[0] == pytest.approx(0.6181047, abs=1e-7)
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
