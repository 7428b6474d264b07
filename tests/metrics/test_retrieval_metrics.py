from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from kdl.metrics import RetrievalMetrics
from kdl.training import HostEvaluation


def data(seed=0, count=60, classes=7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centers = rng.standard_normal((classes, 5))
    return labels, (centers[labels] + rng.standard_normal((count, 5))).astype("float32")


def result(y_true, x, **arguments):
    metric = RetrievalMetrics(**arguments)
    metric.update_state(y_true, x)
    return metric.result()


def definition(relevances, ranks=(1, 5, 10), recall="any", average_precision="standard"):
    """The formulas, rank by rank; `relevances` has the ranking of each query."""
    rows = []
    for relevance in relevances:
        total = sum(relevance)
        if not total:
            continue
        hits, average, average_at_r, previous = 0, 0, 0, 1
        for rank, relevant in enumerate(relevance, 1):
            hits += relevant
            precision = hits / rank
            if relevant:
                market = average_precision == "market"
                average += ((precision + previous) / 2 if market else precision) / total
                average_at_r += precision / total if rank <= total else 0
            previous = precision
        results = [sum(relevance[:k]) for k in ranks]
        recalls = [n / total if recall == "share" else n > 0 for n in results]
        rows.append([*recalls, average, average_at_r, sum(relevance[:total]) / total])
    names = [*(f"recall@{k}" for k in ranks), "map", "map@r", "r_precision"]
    return dict(zip(names, np.mean(rows, axis=0), strict=True))


def rankings(labels, x, queries, gallery, cameras=None, junk=None):
    """Relevance of the gallery of each query, in the order of distance, by loops."""
    for query in queries:
        results = []
        for item in gallery:
            same = labels[item] == labels[query]
            removed = item == query or labels[item] == junk
            if cameras is not None and same and cameras[item] == cameras[query]:
                removed = True
            if not removed:
                results.append((np.linalg.norm(x[item] - x[query]), same))
        yield [int(same) for _, same in sorted(results)]


@pytest.fixture(params=[0, 64], ids=["sort", "count"])
def form(request, monkeypatch):
    """Both ways to the ranks of the relevant items, whatever their number."""
    monkeypatch.setattr("kdl.metrics.retrieval_metrics._FEW", request.param)


def test_worked_numbers(form):
    """One query at 0, and a gallery whose relevance by distance is 0, 1, 1, 0, 1."""
    x = np.arange(6, dtype="float32")[:, None]
    y = {"labels": [1, 0, 1, 1, 0, 1], "is_query": [1, 0, 0, 0, 0, 0]}
    y = {name: np.array(values) for name, values in y.items()}
    results = result(y, x, ranks=(1, 2, 3, 4, 5))
    assert [results[f"recall@{k}"] for k in (1, 2, 3, 4, 5)] == [0, 1, 1, 1, 1]
    assert results["map"] == pytest.approx(0.588889, abs=1e-6)
    assert results["map@r"] == pytest.approx(0.388889, abs=1e-6)
    assert results["r_precision"] == pytest.approx(0.666667, abs=1e-6)
    results = result(y, x, average_precision="market", recall="share", ranks=(1, 2, 9))
    assert results["map"] == pytest.approx(0.461111, abs=1e-6)
    assert [results[f"recall@{k}"] for k in (1, 2, 9)] == pytest.approx([0, 1 / 3, 1])


@pytest.mark.parametrize("recall", ["any", "share"])
@pytest.mark.parametrize("average_precision", ["standard", "market"])
def test_leave_one_out(form, recall, average_precision):
    labels, x = data()
    arguments = {"recall": recall, "average_precision": average_precision}
    relevances = list(rankings(labels, x, range(60), range(60)))
    assert result(labels, x, **arguments) == pytest.approx(definition(relevances, **arguments))
    if average_precision == "standard":
        of_sklearn = [
            average_precision_score(relevance, -np.arange(59)) for relevance in relevances
        ]
        assert result(labels, x)["map"] == pytest.approx(np.mean(of_sklearn))


def test_market_protocol(form):
    """Queries of two cameras; class 0 stays as distractors, −1 is junk."""
    labels, x = data(1)
    rng = np.random.default_rng(2)
    labels = np.where(rng.random(60) < 0.1, -1, labels)
    cameras = rng.integers(0, 2, 60)
    is_query = (np.arange(60) < 15) & (labels > 0)
    y = {"labels": labels[:, None], "cameras": cameras, "is_query": is_query}
    queries, gallery = np.flatnonzero(is_query), np.flatnonzero(~is_query)
    expected = definition(rankings(labels, x, queries, gallery, cameras, junk=-1))
    assert result(y, x, junk_label=-1) == pytest.approx(expected)
    assert result(y, x) != pytest.approx(expected)
    without = {name: y[name] for name in ("labels", "is_query")}
    expected = definition(rankings(labels, x, queries, gallery))
    assert result(without, x) == pytest.approx(expected)


def test_cosine():
    labels, x = data(3)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert result(labels, x, distance="cosine") == pytest.approx(result(labels, units))
    assert result(labels, x, distance="cosine") != pytest.approx(result(labels, x))
    # Zero has no direction: it is as far as a right angle, and 45 degrees are nearer.
    x = np.array([[1, 0], [0.1, 0.1], [0, 0]], "float32")
    y = {"labels": np.array([1, 1, 0]), "is_query": np.array([True, False, False])}
    assert result(y, x, distance="cosine", ranks=(1,))["recall@1"] == 1


def test_blocks_and_batches(monkeypatch):
    labels, x = data(4)
    expected = result(labels, x)
    monkeypatch.setattr("kdl.metrics.retrieval_metrics._BLOCK", 150)
    metric = RetrievalMetrics()
    for part in (slice(0, 7), slice(7, 60)):
        metric.update_state(labels[part], x[part])
    assert metric.result() == pytest.approx(expected)


def test_equal_distances_count_against(form):
    """An embedding that is a point, far from the origin, retrieves nothing."""
    labels, point = np.arange(63) % 3, 100 * np.random.default_rng(0).standard_normal(129)
    results = result(labels, np.tile(point, (63, 1)), ranks=(1, 42, 43))
    assert [results[f"recall@{k}"] for k in (1, 42, 43)] == [0, 0, 1]
    assert results["r_precision"] == 0


def test_near_points_far_from_the_origin():
    """All that float32 tells apart at 10⁴ is ranked as at the origin."""
    labels, x = data(6)
    x = np.round(4 * x) / 2**10
    assert result(labels, (x + 1e4).astype("float32")) == pytest.approx(result(labels, x))


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_order_shift_and_scale_do_not_matter(seed):
    labels, x = data(seed, 20, 4)
    expected = result(labels, x)
    order = np.random.default_rng(seed).permutation(20)
    assert result(labels[order], x[order]) == pytest.approx(expected)
    assert result(labels, 4 * x + 1) == pytest.approx(expected)
    assert all(0 <= value <= 1 for value in expected.values())
    separate = np.eye(4, dtype="float32")[labels]
    if np.bincount(labels).max() > 1:
        assert set(result(labels, separate).values()) == {1}


def test_in_a_loop_and_in_fit():
    labels, x = data(5)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    metric = RetrievalMetrics(ranks=(1,))
    evaluation = HostEvaluation([(x, labels)], [metric])
    history = model.fit(x, np.zeros((60, 2)), verbose=0, callbacks=[evaluation]).history
    expected = result(labels, model.predict(x, verbose=0))
    assert history["val_recall@1"] == [pytest.approx(expected["recall@1"])]
    assert history["val_map@r"] == [pytest.approx(expected["map@r"])]


def test_config():
    arguments = {
        "ranks": (2, 3),
        "distance": "cosine",
        "recall": "share",
        "average_precision": "market",
        "junk_label": -1,
        "name": "ranking",
        "dtype": "float32",
    }
    config = RetrievalMetrics(**arguments).get_config()
    assert config == arguments
    assert RetrievalMetrics.from_config(config).get_config() == arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranks": ()}, "ranks must be positive integers"),
        ({"ranks": (0,)}, "ranks must be positive integers"),
        ({"distance": "l1"}, "distance must be one of"),
        ({"recall": "all"}, "recall must be one of"),
        ({"average_precision": "voc"}, "average_precision must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RetrievalMetrics(**arguments)


def test_bad_input():
    labels, x = data()
    with pytest.raises(ValueError, match=r"labels must hold one integer .* of shape \(59,\)"):
        result(labels[:-1], x)
    with pytest.raises(ValueError, match="labels must hold one integer"):
        result(labels + 0.5, x)
    with pytest.raises(ValueError, match="cameras must hold one integer"):
        result({"labels": labels, "cameras": labels[:3]}, x)
    with pytest.raises(ValueError, match="received the keys"):
        result({"labels": labels, "camera": labels}, x)
    with pytest.raises(ValueError, match=r"finite embeddings .* received the shape \(60,\)\."):
        result(labels, x[:, 0])
    with pytest.raises(ValueError, match="with NaN or infinity"):
        result(labels, x * np.float32(np.nan))
    with pytest.raises(ValueError, match="nothing to retrieve"):
        result(np.arange(60), x)
    with pytest.raises(ValueError, match="one at least; received"):
        RetrievalMetrics().result()
    metric = RetrievalMetrics()
    metric.update_state(labels, x)
    metric.update_state({"labels": labels, "cameras": labels}, x)
    with pytest.raises(ValueError, match="the same in all batches"):
        metric.result()


@pytest.mark.parametrize("norms", [np.arange(1, 21), np.ones(20), 10.0 ** np.arange(-10, 10)])
@pytest.mark.parametrize("seed", [0, 1496])
def test_collapsed_directions_score_worst_by_cosine(norms, seed):
    """Whatever rounding makes of the distances, which all are 0."""
    v = np.random.default_rng(seed).normal(size=(2, 9))[0]
    metric = RetrievalMetrics(ranks=(1,), distance="cosine")
    metric.update_state(np.arange(20) % 2, np.outer(norms, v).astype("float32"))
    result = metric.result()
    assert (result["recall@1"], result["r_precision"]) == (0, 0)
    assert result["map"] == pytest.approx(0.3117, abs=1e-3)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_equal_rows_rank_alike(distance):
    """Rounding differs by the place of a row; the worst order is that of exact arithmetic."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        points, labels = rng.integers(-3, 4, (12, 9)), rng.integers(0, 3, 12)
        points[6:] = points[:6]
        points[(points == 0).all(1)] = 1
        metric = RetrievalMetrics(ranks=(1,), distance=distance)
        metric.update_state(labels, points.astype("float32"))
        expected = worst_average_precision(points, labels, distance)
        assert metric.result()["map"] == pytest.approx(expected, abs=1e-9)


def worst_average_precision(points, labels, distance):
    """In fractions: nothing is rounded."""
    means = []
    for query in range(len(points)):
        away = [_exact(points[query], point, distance) for point in points]
        others = [i for i in range(len(points)) if i != query]
        others.sort(key=lambda i: (away[i], labels[i] == labels[query]))
        hits = [rank for rank, i in enumerate(others, 1) if labels[i] == labels[query]]
        if hits:
            means.append(np.mean([(n + 1) / rank for n, rank in enumerate(hits)]))
    return np.mean(means)


def _exact(first, second, distance):
    """A number that orders as the distance does."""
    if distance == "l2":
        return int(((first - second) ** 2).sum())
    product, square = int(first @ second), int((second**2).sum())
    return Fraction(-product * abs(product), square)


def test_distances_that_tie_but_for_the_rounding_of_float32():
    """A query in the middle of a ring: whom of the ring float32 puts nearer is chance."""
    angles = 2 * np.pi * np.arange(12) / 12
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    metric = RetrievalMetrics(ranks=(1,))
    points = np.concatenate([[[0, 0]], ring]).astype("float32")
    truth = {"labels": np.r_[0, np.arange(12) % 2], "is_query": np.arange(13) == 0}
    metric.update_state(truth, points)
    assert metric.result()["map"] == pytest.approx(np.mean(np.arange(1, 7) / np.arange(7, 13)))


def test_distances_that_differ_in_float64_rank_apart():
    near = np.array([[0.0], [1.0], [-1.0 - 1e-9]])
    metric = RetrievalMetrics(ranks=(1,))
    metric.update_state({"labels": [0, 0, 1], "is_query": np.array([1, 0, 0])}, near)
    assert metric.result()["recall@1"] == 1
