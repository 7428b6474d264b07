import keras
import numpy as np
import pytest

from kdl.ops import triplets
from kdl.testing._gradients import gradients

# PyTorch searches; its loop is tested all the same, since the others run it.
FORMS = [triplets._count_by_loop]
if keras.backend.backend() == "torch":
    FORMS.append(triplets._count_by_search)

# Classes of three, two, four and one; one class; no positives; two halves.
LABELS = [[3, 0, 7, 7, 0, 3, 7, 3, 7, 9], [5] * 10, list(range(10)), [0, 1] * 5]

# Ties everywhere, also with a margin between them. Beside 1/4 the smallest margin is lost.
DISTANCES = np.array([0, 2**-31, 2**-30, 0.25, 0.5, 1], "float32")
MARGINS = [0.0, 2**-30, 0.25, 3.0]


@pytest.fixture(params=FORMS, ids=["loop", "search"][: len(FORMS)])
def form(request, monkeypatch):
    for name in ("_count_by_loop", "_count_by_search"):
        monkeypatch.setattr(triplets, name, request.param)


def definition(distances, labels, margin, bounded):
    """Sums, counts and slopes by the distances, of each triplet in its turn."""
    sums, counts, slopes = np.zeros(10), np.zeros(10), np.zeros((10, 10))
    for a, p, n in np.ndindex(10, 10, 10):
        near, far = distances[a, p], distances[a, n]
        there = a != p and labels[a] == labels[p] != labels[n] and not (bounded and far <= near)
        if there and far < near + np.float32(margin):
            sums[a] += margin + float(near) - float(far)
            counts[a] += 1
            slopes[a, p] += 1
            slopes[a, n] -= 1
    return sums, counts, slopes


def sum_of_hinges(distances, labels, margin, bounded=False):
    labels = keras.ops.convert_to_tensor(np.array(labels))
    _, negative = triplets.triplet_masks(labels)
    distances = keras.ops.convert_to_tensor(distances)
    return triplets.sum_of_hinges(distances, labels, negative, margin, bounded)


def gradient(distances, *arguments):
    """That of the sum over the batch; what is divided by are the weights that `gradients` gives."""
    weights = gradients(lambda x: x, [], np.ones(10, "float32"))[1][0]
    results = gradients(lambda x: sum_of_hinges(x, *arguments)[0], [], distances)[1][0]
    return results / weights[:, None]


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("labels", LABELS, ids=["uneven", "one class", "no positives", "halves"])
def test_sum_of_hinges(form, labels, bounded):
    for seed, margin in enumerate(MARGINS):
        distances = np.random.default_rng(seed).choice(DISTANCES, (10, 10))
        arguments = labels, margin, bounded
        sums, counts, slopes = definition(distances, *arguments)
        results = [keras.ops.convert_to_numpy(x) for x in sum_of_hinges(distances, *arguments)]
        np.testing.assert_allclose(results[0], sums, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(results[1], counts)
        np.testing.assert_allclose(gradient(distances, *arguments), slopes, rtol=1e-6)


@pytest.mark.parametrize("spread", [0.3, 0.05, 0.03])
def test_sum_of_hinges_of_a_large_batch(form, spread):
    """Where most triplets cost something, and where few do: few digits of the sum are lost."""
    rng, margin = np.random.default_rng(0), float(np.float32(0.2))
    labels = rng.permutation(np.repeat(np.arange(32), 32))
    same = labels[:, None] == labels
    means = np.where(same, 0.8, 1.2)
    distances = np.abs(rng.normal(means, spread)).astype("float32")
    sums = [keras.ops.convert_to_numpy(x) for x in sum_of_hinges(distances, labels, margin)]
    expected, count = np.zeros(1024), 0
    for a, row in enumerate(distances.astype("float64")):
        near, far = row[same[a] & (np.arange(1024) != a)], np.sort(row[~same[a]])
        below = np.searchsorted(far, near + margin)
        totals = np.append(0, np.cumsum(far))
        expected[a] = np.sum(below * (near + margin) - totals[below])
        count += below.sum()
    assert sums[1].sum() == pytest.approx(count, rel=1e-6)
    assert count > 10
    np.testing.assert_allclose(sums[0], expected, rtol=1e-5, atol=1e-6 * expected.mean())
    assert sums[0].sum() == pytest.approx(expected.sum(), rel=1e-6)
