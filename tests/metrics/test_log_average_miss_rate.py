import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenes import padded, random_scenes

from kdl.metrics import LogAverageMissRate
from kdl.metrics.log_average_miss_rate import SUBSETS


def measure(truths, outcome, batch=7, **arguments):
    metric = LogAverageMissRate(**arguments)
    for start in range(0, len(truths["boxes"]), batch):
        part = slice(start, start + batch)
        metric.update_state(
            {key: value[part] for key, value in truths.items()},
            {key: value[part] for key, value in outcome.items()},
        )
    return metric.result()


def street(seed, images=20, **arguments):
    """People of heights around the limits of the subsets, some hidden, some to ignore."""
    truths, outcome = random_scenes(seed, images=images, classes=1, size=160, **arguments)
    rng = np.random.default_rng(seed)
    shares = [0.0, 0.1, 0.2, 0.5, 0.65, 0.8, 0.9, 1.0]
    truths["ignore"] = truths.pop("crowd")
    truths["visible"] = [rng.choice(shares, len(item)) for item in truths["labels"]]
    del truths["area"]
    return truths, outcome


def flags_as_boxes(flags, people, images):
    """Detections with these outcomes by falling score, spread over the images."""
    real = [np.zeros((0, 4)) for _ in range(images)]
    outcome = {"boxes": [np.zeros((0, 4))] * images, "scores": [np.zeros(0)] * images}
    for place, hit in enumerate(flags):
        image = place % images
        box = np.array([[100.0 * place, 0, 100.0 * place + 40, 100]])
        outcome["boxes"][image] = np.concatenate([outcome["boxes"][image], box])
        outcome["scores"][image] = np.append(outcome["scores"][image], 1 - place / 100)
        if hit:
            real[image] = np.concatenate([real[image], box])
    for missed in range(people - sum(flags)):
        box = np.array([[100.0 * missed, 500, 100.0 * missed + 40, 600]])
        real[missed] = np.concatenate([real[missed], box])
    outcome["labels"] = [np.zeros(len(item)) for item in outcome["boxes"]]
    return {"boxes": real, "labels": [np.zeros(len(item)) for item in real]}, outcome


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


def outcomes(image, truths, outcome, height, visibility):
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
    order = np.argsort(-outcome["scores"][image], kind="stable")[:1000]
    results = []
    for row in order:
        box = outcome["boxes"][image][row]
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
            results.append((outcome["scores"][image][row], chosen is not None))
        if chosen is not None:
            chosen[2] = True
    return results, sum(not ignored for ignored, *_ in people)


def definition(truths, outcome, height, visibility):
    images = len(truths["boxes"])
    results, total = [], 0
    for image in range(images):
        more, people = outcomes(image, truths, outcome, height, visibility)
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
    truths, outcome = street(seed, images=40, truths=10, grid=grid)
    results = measure(truths, outcome)
    assert list(results) == list(SUBSETS)
    for name, value in results.items():
        assert value == pytest.approx(definition(truths, outcome, *SUBSETS[name]), abs=1e-12), name
    assert len(set(results.values())) == len(SUBSETS)


def test_ignored_regions_take_any_number():
    """Half of its own area inside is enough for a detection to be dropped."""
    truths = {"boxes": [[[0, 0, 500, 500], [600, 0, 640, 100]]], "labels": [[0, 0]]}
    truths["ignore"] = [[1, 0]]
    inside = [[0, 0, 40, 100], [0, 0, 40, 100], [480, 0, 520, 100], [600, 0, 640, 100]]
    outcome = {"boxes": [inside], "labels": [[0] * 4], "scores": [[0.9, 0.8, 0.7, 0.6]]}
    truths, outcome = ({k: np.array(v) for k, v in item.items()} for item in (truths, outcome))
    assert measure(truths, outcome)["Reasonable"] == pytest.approx(1e-10)
    outcome["boxes"][0, 2] += [1, 0, 1, 0]  # now less than half
    assert measure(truths, outcome)["Reasonable"] == pytest.approx(1e-10 ** (1 / 9))


@pytest.mark.parametrize(
    ("height", "counts"), [(39.9, False), (40, True), (93.7, True), (93.75, False)]
)
def test_heights_of_detections_that_count(height, counts):
    """Of `"Small"`, from 50 / 1.25 to below 75 · 1.25; the best is false, if it counts."""
    truths = {"boxes": [np.array([[0, 0, 30, 70.0]])], "labels": [np.zeros(1)]}
    outcome = {
        "boxes": [np.array([[200, 0, 230, height], [0, 0, 30, 70]])],
        "labels": [np.zeros(2)],
    }
    outcome["scores"] = [np.array([0.9, 0.8])]
    expected = 1e-10 ** (1 / 9) if counts else 1e-10
    assert measure(truths, outcome)["Small"] == pytest.approx(expected)


def test_detections_beyond_a_thousand_are_ignored():
    """The one that is right is the last of 1001."""
    boxes = np.tile([[0.0, 0, 40, 100]], (1001, 1)) + np.arange(1001)[:, None] * [100, 0, 100, 0]
    truths = {"boxes": [boxes[-1:]], "labels": [np.zeros(1)]}
    outcome = {"boxes": [boxes], "labels": [np.zeros(1001)]}
    outcome["scores"] = [np.linspace(1, 0.5, 1001)]
    many = [np.zeros((0, 4))] * 2000, [np.zeros(0)] * 2000  # images, so that 1000 alarms are few
    for item in (truths, outcome):
        item.update(boxes=item["boxes"] + many[0], labels=item["labels"] + many[1])
    outcome["scores"] += many[1]
    assert measure(truths, outcome, batch=3000)["Reasonable"] == 1
    fewer = {key: [values[0][1:], *values[1:]] for key, values in outcome.items()}
    assert measure(truths, fewer, batch=3000)["Reasonable"] < 0.1


def test_visible_boxes_equal_shares():
    truths, outcome = street(3)
    boxes = []
    for full, share in zip(truths["boxes"], truths["visible"], strict=True):
        part = full.copy()
        part[:, 2] = part[:, 0] + (full[:, 2] - full[:, 0]) * (share + 1e-6)
        boxes.append(part)
    nudged = {**truths, "visible": [share + 1e-6 for share in truths["visible"]]}
    by_share = measure(nudged, outcome)
    assert measure({**truths, "visible": boxes}, outcome) == by_share
    plain = {key: truths[key] for key in ("boxes", "labels", "ignore")}
    assert measure(plain, outcome)["Heavy"] == -1


def test_class_of_the_people():
    """Other classes go, but for regions to ignore, whatever their class."""
    truths, outcome = street(4)
    expected = measure(truths, outcome)
    rng = np.random.default_rng(4)
    truths["labels"] = [np.where(item, 5, 2) for item in truths["ignore"]]
    outcome["labels"] = [item + 2 for item in outcome["labels"]]
    for image in range(len(outcome["boxes"])):
        box = rng.uniform(0, 50, (3, 4)) + [0, 0, 60, 90]
        for scenes in (truths, outcome):
            scenes["boxes"][image] = np.concatenate([scenes["boxes"][image], box])
            scenes["labels"][image] = np.append(scenes["labels"][image], [7, 7, 7])
        truths["ignore"][image] = np.append(truths["ignore"][image], [False] * 3)
        truths["visible"][image] = np.append(truths["visible"][image], [1.0] * 3)
        outcome["scores"][image] = np.append(outcome["scores"][image], [0.99] * 3)
    assert measure(truths, outcome, class_id=2) == expected
    assert measure(truths, outcome) != expected


def test_empty_sets():
    truths, outcome = street(5)
    none = {key: [item[:0] for item in outcome[key]] for key in outcome}
    assert set(measure(truths, none).values()) == {1}
    empty = {key: [item[:0] for item in truths[key]] for key in truths}
    assert set(measure(empty, outcome).values()) == {-1}
    assert set(LogAverageMissRate().result().values()) == {-1}


def test_padded_arrays_of_the_backend():
    truths, outcome = street(6)
    for item in (truths, outcome):
        item["boxes"] = [np.float32(boxes) for boxes in item["boxes"]]
    outcome["scores"] = [np.float32(scores) for scores in outcome["scores"]]
    truths["visible"] = [np.float32(np.round(share * 8) / 8) for share in truths["visible"]]
    tensors = [
        {key: keras.ops.convert_to_tensor(value, "float32") for key, value in padded(item).items()}
        for item in (truths, outcome)
    ]
    assert measure(*tensors) == measure(truths, outcome)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_properties(seed):
    """The order of images and boxes does not matter; images without people help."""
    truths, outcome = street(seed, images=6)
    before = measure(truths, outcome)
    assert all(value == -1 or 0 < value <= 1 for value in before.values())
    rng = np.random.default_rng(seed)
    images = rng.permutation(6)
    for item in (truths, outcome):
        orders = [rng.permutation(len(labels)) for labels in item["labels"]]
        for key, values in item.items():
            item[key] = [values[i][orders[i]] for i in images]
    mixed = measure(truths, outcome)
    assert mixed == pytest.approx(before, abs=1e-12)
    for item in (truths, outcome):
        for key, values in item.items():
            item[key] = [*values, values[0][:0]]
    more = measure(truths, outcome)
    assert all(more[name] <= mixed[name] + 1e-12 for name in mixed)


def test_config_and_own_subsets():
    mine = {"tall": [[100, 1000], [0, 1]]}
    metric = LogAverageMissRate(mine, threshold=0.7, class_id=1, name="mr")
    counterpart = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert counterpart.get_config() == metric.get_config()
    truths, outcome = street(7)
    expected = definition(truths, outcome, (100, 1000), (0, 1))
    assert measure(truths, outcome, subsets=mine) == {"tall": pytest.approx(expected)}
    assert list(measure(truths, outcome, subsets=("Bare", "All"))) == ["Bare", "All"]


def test_bad_arguments_and_input():
    with pytest.raises(ValueError, match=r"subsets must be of .*; received \['Tall'\]"):
        LogAverageMissRate(["Tall", "Bare"])
    for ranges in ((50, 100), ((100, 50), (0, 1))):
        with pytest.raises(ValueError, match="subsets must give"):
            LogAverageMissRate({"mine": ranges})
    with pytest.raises(ValueError, match="threshold must be above 0"):
        LogAverageMissRate(threshold=0)
    truths, outcome = flags_as_boxes([1], 1, 1)
    for visible, message in (
        ([[-0.5]], "must be boxes, or shares from 0 to 1; received -0.5"),
        ([[[0, 0, -1, 1]]], "must be finite"),
        ([[0.5, 0.5]], "must hold a number or four numbers"),
        ([[np.nan]], "must hold numbers; received NaN"),
    ):
        with pytest.raises(ValueError, match=r'y_true\["visible"\] ' + message):
            measure({**truths, "visible": np.array(visible)}, outcome)
