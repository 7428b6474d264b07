import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenes import padded, random_scenes

from kdl.metrics import LogAverageMissRate
from kdl.metrics.log_average_miss_rate import SUBSETS


def measure(truths, found, batch=7, **arguments):
    metric = LogAverageMissRate(**arguments)
    for start in range(0, len(truths["boxes"]), batch):
        part = slice(start, start + batch)
        metric.update_state(
            {key: value[part] for key, value in truths.items()},
            {key: value[part] for key, value in found.items()},
        )
    return metric.result()


def street(seed, images=20, **arguments):
    """People of heights around the limits of the subsets, some hidden, some to ignore."""
    truths, found = random_scenes(seed, images=images, classes=1, size=160, **arguments)
    rng = np.random.default_rng(seed)
    shares = [0.0, 0.1, 0.2, 0.5, 0.65, 0.8, 0.9, 1.0]
    truths["ignore"] = truths.pop("crowd")
    truths["visible"] = [rng.choice(shares, len(each)) for each in truths["labels"]]
    del truths["area"]
    return truths, found


def flags_as_boxes(flags, people, images):
    """Detections with these outcomes by falling score, spread over the images."""
    real = [np.zeros((0, 4)) for _ in range(images)]
    found = {"boxes": [np.zeros((0, 4))] * images, "scores": [np.zeros(0)] * images}
    for place, hit in enumerate(flags):
        image = place % images
        box = np.array([[100.0 * place, 0, 100.0 * place + 40, 100]])
        found["boxes"][image] = np.concatenate([found["boxes"][image], box])
        found["scores"][image] = np.append(found["scores"][image], 1 - place / 100)
        if hit:
            real[image] = np.concatenate([real[image], box])
    for missed in range(people - sum(flags)):
        box = np.array([[100.0 * missed, 500, 100.0 * missed + 40, 600]])
        real[missed] = np.concatenate([real[missed], box])
    found["labels"] = [np.zeros(len(each)) for each in found["boxes"]]
    return {"boxes": real, "labels": [np.zeros(len(each)) for each in real]}, found


@pytest.mark.parametrize(
    ("flags", "people", "expected"),
    [
        ([1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], 5, 0.3801714),
        # The first detection is false: reading the curve at −1 there would give 0.2916323.
        ([0, 1, 1, 0, 1], 4, 0.5400299),
    ],
)
def test_worked_numbers(flags, people, expected):
    case = flags_as_boxes(flags, people, images=10)
    assert measure(*case)["Reasonable"] == pytest.approx(expected, abs=1e-7)


# --- the definition, in loops ---------------------------------------------------------------------


def shared_area(a, b):
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def area(a):
    return (a[2] - a[0]) * (a[3] - a[1])


def outcomes(image, truths, found, height, visibility):
    """Score and outcome of each detection of an image that counts, and the number of people."""
    people = []
    for row, box in enumerate(truths["boxes"][image]):
        ignored = (
            truths["ignore"][image][row]
            or not height[0] <= box[3] - box[1] <= height[1]
            or not visibility[0] <= truths["visible"][image][row] <= visibility[1]
        )
        people.append([bool(ignored), box, False])
    people.sort(key=lambda person: person[0])
    order = np.argsort(-found["scores"][image], kind="stable")[:1000]
    results = []
    for row in order:
        box = found["boxes"][image][row]
        if not height[0] / 1.25 <= box[3] - box[1] < height[1] * 1.25:
            continue
        best, chosen = 0.5, None
        for person in people:
            ignored, real, taken = person
            if taken and not ignored:
                continue
            if ignored and chosen is not None and not chosen[0]:
                break
            shared = shared_area(box, real)
            whole = area(box) if ignored else area(box) + area(real) - shared
            if shared and shared / whole >= best:
                best, chosen = shared / whole, person
        if chosen is None or not chosen[0]:
            results.append((found["scores"][image][row], chosen is not None))
        if chosen is not None:
            chosen[2] = True
    return results, sum(not ignored for ignored, *_ in people)


def definition(truths, found, height, visibility):
    images = len(truths["boxes"])
    results, total = [], 0
    for image in range(images):
        more, people = outcomes(image, truths, found, height, visibility)
        results, total = results + more, total + people
    results.sort(key=lambda result: -result[0])
    logs = []
    for reference in [10 ** (-2 + k / 4) for k in range(9)]:
        recall = alarms = hits = 0
        for _, hit in results:
            hits, alarms = hits + hit, alarms + (not hit)
            if alarms / images <= reference:
                recall = hits / total
        logs.append(math.log(max(1 - recall, 1e-10)))
    return math.exp(sum(logs) / 9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("grid", [None, 5])
def test_definition_on_random_streets(seed, grid):
    """On a grid of 5, heights are at the ends of the subsets, and scores are equal."""
    truths, found = street(seed, images=40, truths=10, grid=grid)
    results = measure(truths, found)
    assert list(results) == list(SUBSETS)
    for name, value in results.items():
        assert value == pytest.approx(definition(truths, found, *SUBSETS[name]), abs=1e-12), name
    assert len(set(results.values())) == len(SUBSETS)


def test_ignored_regions_take_any_number():
    """Half of its own area inside is enough for a detection to be dropped."""
    truths = {"boxes": [[[0, 0, 500, 500], [600, 0, 640, 100]]], "labels": [[0, 0]]}
    truths["ignore"] = [[1, 0]]
    inside = [[0, 0, 40, 100], [0, 0, 40, 100], [480, 0, 520, 100], [600, 0, 640, 100]]
    found = {"boxes": [inside], "labels": [[0] * 4], "scores": [[0.9, 0.8, 0.7, 0.6]]}
    truths, found = ({k: np.array(v) for k, v in each.items()} for each in (truths, found))
    assert measure(truths, found)["Reasonable"] == pytest.approx(1e-10)
    found["boxes"][0, 2] += [1, 0, 1, 0]  # now less than half
    assert measure(truths, found)["Reasonable"] == pytest.approx(1e-10 ** (1 / 9))


@pytest.mark.parametrize(
    ("height", "counts"), [(39.9, False), (40, True), (93.7, True), (93.75, False)]
)
def test_heights_of_detections_that_count(height, counts):
    """Of `"Small"`, from 50 / 1.25 to below 75 · 1.25; the best is false, if it counts."""
    truths = {"boxes": [np.array([[0, 0, 30, 70.0]])], "labels": [np.zeros(1)]}
    found = {"boxes": [np.array([[200, 0, 230, height], [0, 0, 30, 70]])], "labels": [np.zeros(2)]}
    found["scores"] = [np.array([0.9, 0.8])]
    expected = 1e-10 ** (1 / 9) if counts else 1e-10
    assert measure(truths, found)["Small"] == pytest.approx(expected)


def test_only_the_best_thousand_count():
    """The one that is right is the last of 1001."""
    boxes = np.tile([[0.0, 0, 40, 100]], (1001, 1)) + np.arange(1001)[:, None] * [100, 0, 100, 0]
    truths = {"boxes": [boxes[-1:]], "labels": [np.zeros(1)]}
    found = {"boxes": [boxes], "labels": [np.zeros(1001)]}
    found["scores"] = [np.linspace(1, 0.5, 1001)]
    many = [np.zeros((0, 4))] * 2000, [np.zeros(0)] * 2000  # images, so that 1000 alarms are few
    for each in (truths, found):
        each.update(boxes=each["boxes"] + many[0], labels=each["labels"] + many[1])
    found["scores"] += many[1]
    assert measure(truths, found, batch=3000)["Reasonable"] == 1
    fewer = {key: [values[0][1:], *values[1:]] for key, values in found.items()}
    assert measure(truths, fewer, batch=3000)["Reasonable"] < 0.1


def test_visible_boxes_equal_shares():
    truths, found = street(3)
    boxes = []
    for full, share in zip(truths["boxes"], truths["visible"], strict=True):
        part = full.copy()
        part[:, 2] = part[:, 0] + (full[:, 2] - full[:, 0]) * (share + 1e-6)
        boxes.append(part)
    nudged = {**truths, "visible": [share + 1e-6 for share in truths["visible"]]}
    by_share = measure(nudged, found)
    assert measure({**truths, "visible": boxes}, found) == by_share
    plain = {key: truths[key] for key in ("boxes", "labels", "ignore")}
    assert measure(plain, found)["Heavy"] == -1


def test_class_of_the_people():
    """Other classes go, but for regions to ignore, whatever their class."""
    truths, found = street(4)
    expected = measure(truths, found)
    rng = np.random.default_rng(4)
    truths["labels"] = [np.where(each, 5, 2) for each in truths["ignore"]]
    found["labels"] = [each + 2 for each in found["labels"]]
    for image in range(len(found["boxes"])):
        box = rng.uniform(0, 50, (3, 4)) + [0, 0, 60, 90]
        for scenes in (truths, found):
            scenes["boxes"][image] = np.concatenate([scenes["boxes"][image], box])
            scenes["labels"][image] = np.append(scenes["labels"][image], [7, 7, 7])
        truths["ignore"][image] = np.append(truths["ignore"][image], [False] * 3)
        truths["visible"][image] = np.append(truths["visible"][image], [1.0] * 3)
        found["scores"][image] = np.append(found["scores"][image], [0.99] * 3)
    assert measure(truths, found, class_id=2) == expected
    assert measure(truths, found) != expected


def test_empty_sets():
    truths, found = street(5)
    none = {key: [each[:0] for each in found[key]] for key in found}
    assert set(measure(truths, none).values()) == {1}
    empty = {key: [each[:0] for each in truths[key]] for key in truths}
    assert set(measure(empty, found).values()) == {-1}
    assert set(LogAverageMissRate().result().values()) == {-1}


def test_padded_arrays_of_the_backend():
    truths, found = street(6)
    for each in (truths, found):
        each["boxes"] = [np.float32(boxes) for boxes in each["boxes"]]
    found["scores"] = [np.float32(scores) for scores in found["scores"]]
    truths["visible"] = [np.float32(np.round(share * 8) / 8) for share in truths["visible"]]
    tensors = [
        {key: keras.ops.convert_to_tensor(value, "float32") for key, value in padded(each).items()}
        for each in (truths, found)
    ]
    assert measure(*tensors) == measure(truths, found)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_properties(seed):
    """The order of images and boxes does not matter; images without people help."""
    truths, found = street(seed, images=6)
    before = measure(truths, found)
    assert all(value == -1 or 0 < value <= 1 for value in before.values())
    rng = np.random.default_rng(seed)
    images = rng.permutation(6)
    for each in (truths, found):
        orders = [rng.permutation(len(labels)) for labels in each["labels"]]
        for key, values in each.items():
            each[key] = [values[i][orders[i]] for i in images]
    mixed = measure(truths, found)
    assert mixed == pytest.approx(before, abs=1e-12)
    for each in (truths, found):
        for key, values in each.items():
            each[key] = [*values, values[0][:0]]
    more = measure(truths, found)
    assert all(more[name] <= mixed[name] + 1e-12 for name in mixed)


def test_config_and_own_subsets():
    mine = {"tall": [[100, 1000], [0, 1]]}
    metric = LogAverageMissRate(mine, threshold=0.7, class_id=1, name="mr")
    twin = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert twin.get_config() == metric.get_config()
    truths, found = street(7)
    expected = definition(truths, found, (100, 1000), (0, 1))
    assert measure(truths, found, subsets=mine) == {"tall": pytest.approx(expected)}
    assert list(measure(truths, found, subsets=("Bare", "All"))) == ["Bare", "All"]


def test_bad_arguments_and_input():
    with pytest.raises(ValueError, match=r"subsets must be of .*; received \['Tall'\]"):
        LogAverageMissRate(["Tall", "Bare"])
    for ranges in ((50, 100), ((100, 50), (0, 1))):
        with pytest.raises(ValueError, match="subsets must give"):
            LogAverageMissRate({"mine": ranges})
    with pytest.raises(ValueError, match="threshold must be above 0"):
        LogAverageMissRate(threshold=0)
    truths, found = flags_as_boxes([1], 1, 1)
    for visible, message in (
        ([[-0.5]], "must be boxes, or shares from 0 to 1; received -0.5"),
        ([[[0, 0, -1, 1]]], "must be finite"),
        ([[0.5, 0.5]], "must hold a number or four numbers"),
        ([[np.nan]], "must hold numbers; received NaN"),
    ):
        with pytest.raises(ValueError, match=r'y_true\["visible"\] ' + message):
            measure({**truths, "visible": np.array(visible)}, found)
