import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenes import padded, random_scenes

from kdl.metrics import VocMeanAveragePrecision


def measure(truths, results, batch=7, **arguments):
    metric = VocMeanAveragePrecision(**arguments)
    for start in range(0, len(truths["boxes"]), batch):
        part = slice(start, start + batch)
        metric.update_state(
            {key: value[part] for key, value in truths.items()},
            {key: value[part] for key, value in results.items()},
        )
    return metric


def scenes(seed, **arguments):
    truths, results = random_scenes(seed, **arguments)
    truths["difficult"] = truths.pop("crowd")
    return truths, results


def flags_as_boxes(flags, truths):
    """One image where the detections have these outcomes, of falling score."""
    squares = np.arange(len(flags) + truths, dtype="float64")[:, None] * 20 + [0, 0, 10, 10]
    squares[:, [1, 3]] = 0, 10
    hits = np.flatnonzero(flags)
    missed = squares[len(flags) : len(flags) + truths - len(hits)]
    real = np.concatenate([squares[hits], missed])
    scores = np.linspace(0.9, 0.1, len(flags))
    return (
        {"boxes": real[None], "labels": np.zeros((1, truths))},
        {
            "boxes": squares[None, : len(flags)],
            "labels": np.zeros((1, len(flags))),
            "scores": scores[None],
        },
    )


@pytest.mark.parametrize(
    ("method", "expected"), [("all_point", 0.6142857), ("11_point", 0.6493506)]
)
def test_worked_numbers(method, expected):
    """With np.arange(0, 1.1, .1) for the tenths, the second would be 0.6331169."""
    case = flags_as_boxes([1, 0, 1, 1, 0, 0, 1], 5)
    assert measure(*case, method=method).result() == pytest.approx(expected, abs=1e-7)


# --- the definition, in loops ---------------------------------------------------------------------


def overlap(a, b, extra):
    width = min(a[2], b[2]) - max(a[0], b[0]) + extra
    height = min(a[3], b[3]) - max(a[1], b[1]) + extra
    shared = max(width, 0) * max(height, 0)
    areas = sum((c[2] - c[0] + extra) * (c[3] - c[1] + extra) for c in (a, b))
    return shared / (areas - shared) if shared else 0.0


def definition(truths, results, label, threshold, extra, tenths):
    detections = sorted(
        (-score, image, place)
        for image, scores in enumerate(results["scores"])
        for place, score in enumerate(scores)
        if results["labels"][image][place] == label
    )
    total = sum(
        ((c == label) & ~d).sum()
        for c, d in zip(truths["labels"], truths["difficult"], strict=True)
    )
    taken, right, wrong, points = set(), 0, 0, [(0.0, 0.0)]
    for _, image, place in detections:
        best, chosen = 0, None
        for row, box in enumerate(truths["boxes"][image]):
            same = truths["labels"][image][row] == label
            value = overlap(results["boxes"][image][place], box, extra) if same else 0
            if value > best:
                best, chosen = value, (image, row)
        if best >= threshold and truths["difficult"][image][chosen[1]]:
            continue
        hit = best >= threshold and chosen not in taken
        taken.add(chosen if hit else None)
        right, wrong = right + hit, wrong + (not hit)
        points.append((right / total, right / (right + wrong)))
    if tenths:
        edges = np.arange(11) / 10
        return (
            sum(max([p for r, p in points if r >= edge - 1e-12], default=0) for edge in edges) / 11
        )
    area = 0
    for index in range(1, len(points)):
        area += (points[index][0] - points[index - 1][0]) * max(p for _, p in points[index:])
    return area


@pytest.mark.parametrize("method", ["all_point", "11_point"])
@pytest.mark.parametrize(("threshold", "pixels"), [(0.5, False), (0.5, True), (0.1, False)])
@pytest.mark.parametrize("grid", [None, 16])
def test_definition_on_random_scenes(method, threshold, pixels, grid):
    truths, results = scenes(0, grid=grid, images=30)
    metric = measure(truths, results, threshold=threshold, method=method, pixel_boxes=pixels)
    values = metric.per_class()
    assert list(values) == [0, 1, 2, 3]
    for label, value in values.items():
        expected = definition(truths, results, label, threshold, int(pixels), method == "11_point")
        assert value == pytest.approx(expected, abs=1e-12)
        assert value > 0
    assert metric.result() == pytest.approx(np.mean(list(values.values())))


def test_second_hit_is_false_beside_a_free_ground_truth():
    """The second detection overlaps the taken box most, and the free one enough."""
    truths = {"boxes": [[[0, 0, 10, 10], [0, 4, 10, 14]]], "labels": [[0, 0]]}
    results = {"boxes": [[[0, 0, 10, 10], [0, 1, 10, 11]]], "labels": [[0, 0]]}
    results["scores"] = [[0.9, 0.8]]
    truths, results = ({k: np.array(v) for k, v in item.items()} for item in (truths, results))
    assert measure(truths, results).result() == 0.5


def test_absent_classes_and_empty_sets():
    truths, results = scenes(1)
    none = {key: [item[:0] for item in results[key]] for key in results}
    assert measure(truths, none).result() == 0
    assert measure(truths, none, method="11_point").result() == 0
    empty = {key: [item[:0] for item in truths[key]] for key in truths}
    assert measure(empty, results).result() == -1
    assert VocMeanAveragePrecision().result() == -1
    hard = {**truths, "difficult": [np.ones(len(item)) for item in truths["labels"]]}
    assert measure(hard, results).result() == -1
    assert VocMeanAveragePrecision().per_class() == {}


def test_padded_arrays_of_the_backend():
    truths, results = scenes(2)
    tensors = [
        {key: keras.ops.convert_to_tensor(value, "float32") for key, value in padded(item).items()}
        for item in (truths, results)
    ]
    lists = measure(truths, results).result()
    assert measure(*tensors).result() == pytest.approx(lists, abs=1e-3)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), power=st.integers(-3, 3))
def test_properties(seed, power):
    """Neither the order of images and boxes matters, nor the scale."""
    truths, results = scenes(seed, images=6)
    before = measure(truths, results).result()
    assert before == -1 or 0 <= before <= 1
    rng = np.random.default_rng(seed)
    images = rng.permutation(6)
    for item in (truths, results):
        orders = [rng.permutation(len(labels)) for labels in item["labels"]]
        for key, values in item.items():
            item[key] = [values[i][orders[i]] for i in images]
        item["boxes"] = [boxes * 2.0**power for boxes in item["boxes"]]
    assert measure(truths, results).result() == pytest.approx(before, abs=1e-12)


def test_config():
    metric = VocMeanAveragePrecision(0.7, "11_point", pixel_boxes=True, name="voc")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(copy) is VocMeanAveragePrecision
    assert copy.get_config() == metric.get_config()
    assert metric.get_config()["threshold"] == 0.7


def test_bad_arguments_and_input():
    for threshold in (0, 1.5):
        with pytest.raises(ValueError, match="threshold must be above 0"):
            VocMeanAveragePrecision(threshold)
    with pytest.raises(ValueError, match="method must be one of"):
        VocMeanAveragePrecision(method="area")
    truths, results = flags_as_boxes([1, 0], 2)
    with pytest.raises(ValueError, match=r'y_true\["difficult"\] must hold a number'):
        measure({**truths, "difficult": np.zeros((1, 3))}, results)
    with pytest.raises(ValueError, match=r'y_pred\["boxes"\] must be finite'):
        measure(truths, {**results, "boxes": -results["boxes"]})
    with pytest.raises(ValueError, match="takes no sample_weight"):
        VocMeanAveragePrecision().update_state(truths, results, sample_weight=[1])


def test_ragged_tensors_raise():
    """Padded with zeros, they would hold boxes of class 0."""
    ragged = type("RaggedTensor", (), {})()
    with pytest.raises(ValueError, match="takes no ragged tensors"):
        VocMeanAveragePrecision().update_state({"boxes": ragged}, {"boxes": ragged})


def test_old_keys_warn_and_work():
    boxes = np.array([[[0.0, 0, 10, 10]]])
    metric = VocMeanAveragePrecision()
    with pytest.warns(FutureWarning, match="'(classes|confidence)' is now '(labels|scores)'"):
        metric.update_state(
            {"boxes": boxes, "classes": np.array([[1]])},
            {"boxes": boxes, "classes": np.array([[1]]), "confidence": np.array([[0.5]])},
        )
    assert metric.result() == 1
