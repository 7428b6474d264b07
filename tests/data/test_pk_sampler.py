import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kdl.data import ArrayDataset, ImageFolder, InputSpec, PKSampler

SIZES = [3, 8, 1, 5, 4]
LABELS = np.repeat([2, 3, 5, 7, 11], SIZES)[np.random.default_rng(0).permutation(sum(SIZES))]
SAMPLES = np.arange(len(LABELS), dtype="float32")[:, None]


def served(sampler):
    return [np.stack([x[:, 0], y]).astype(int).tolist() for x, y in sampler]


def epochs(sampler, count):
    found = []
    for _ in range(count):
        found.append(served(sampler))
        sampler.on_epoch_end()
    return found


@given(
    classes=st.integers(1, 5),
    samples=st.integers(1, 7),
    tail=st.sampled_from(["drop", "complete"]),
    passes=st.integers(1, 3),
    epoch=st.integers(0, 100),
)
def test_every_batch_has_p_classes_of_k_samples(classes, samples, tail, passes, epoch):
    sampler = PKSampler(SAMPLES, LABELS, classes, samples, tail=tail, passes=passes)
    sampler.epoch = epoch
    batches = list(sampler)
    a_pass = 5 // classes if tail == "drop" else -(-5 // classes)
    assert len(batches) == len(sampler) == passes * a_pass
    for x, y in batches:
        np.testing.assert_array_equal(LABELS[x[:, 0].astype(int)], y)
        assert (y.reshape(classes, samples) == y[::samples, None]).all()
        assert len(set(y)) == classes
        for label in set(y):
            members = np.flatnonzero(label == LABELS)
            found = np.bincount(x[y == label, 0].astype(int), minlength=len(LABELS))[members]
            assert found.sum() == samples
            assert found.max() <= -(-samples // len(members))
    for number in range(passes):
        labels = np.concatenate([y for _, y in batches[number * a_pass :][:a_pass]])
        met = labels[::samples].tolist()
        assert len(set(met)) == (5 if tail == "complete" else a_pass * classes)


def test_all_samples_of_a_class_are_equally_likely():
    """Three samples of which four are drawn: each comes once or twice, 4/3 times on average."""
    sampler = PKSampler(SAMPLES, LABELS, 5, 4)
    counts = np.zeros(len(LABELS))
    for _ in range(600):
        x, _ = sampler[0]
        counts += np.bincount(x[:, 0].astype(int), minlength=len(LABELS))
        sampler.on_epoch_end()
    for label, size in zip([2, 3, 5, 7, 11], SIZES, strict=True):
        np.testing.assert_allclose(counts[label == LABELS] / 600, 4 / size, rtol=0.15)


def test_follows_from_seed_and_epoch():
    make = lambda seed=3: PKSampler(SAMPLES, LABELS, 2, 3, seed=seed)  # noqa: E731
    runs = epochs(make(), 4)
    assert runs[0] != runs[1] != runs[2]
    assert runs == epochs(make(), 4)
    assert runs[0] != served(make(4))
    resumed = make()
    resumed.epoch = 2
    assert epochs(resumed, 2) == runs[2:]
    # Written down once: a run must stay repeatable in later versions.
    rng = np.random.default_rng([3, 1])
    expected = []
    for number in rng.permutation(5)[:4]:
        members = np.flatnonzero([2, 3, 5, 7, 11][number] == LABELS)
        expected += rng.permutation(np.tile(members, -(-3 // len(members))))[:3].tolist()
    assert [row for rows, _ in runs[1] for row in rows] == expected


@pytest.mark.every_backend
def test_fit_sees_a_new_draw_in_each_epoch():
    seen = []
    spy = lambda x, rng: seen.append(x) or x  # noqa: E731
    sampler = PKSampler(SAMPLES, LABELS, 2, 3, passes=2, augment=spy)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(sampler, epochs=3, shuffle=False, verbose=0)
    assert sampler.epoch == 3
    drawn = [[x[:, 0].tolist() for x, _ in batches] for batches in _passes(3)]
    seen = [x[:, 0].tolist() for x in seen]
    assert all(batch in seen for batches in drawn for batch in batches)


def _passes(count):
    sampler = PKSampler(SAMPLES, LABELS, 2, 3, passes=2)
    for epoch in range(count):
        sampler.epoch = epoch
        yield list(sampler)


def test_data_sets(tmp_path):
    plus = lambda x, rng: x + 1  # noqa: E731
    dataset = ArrayDataset(SAMPLES, LABELS, batch_size=5, augment=plus)
    x, y = PKSampler(dataset, classes_per_batch=3, samples_per_class=2)[0]
    np.testing.assert_array_equal(LABELS[x[:, 0].astype(int) - 1], y)
    x, y = PKSampler(dataset, classes_per_batch=3, augment=lambda x, rng: -x)[0]
    np.testing.assert_array_equal(LABELS[-x[:, 0].astype(int)], y)
    for label in range(3):
        (tmp_path / str(label)).mkdir()
        for number in range(2):
            shade = 100 * label + number
            Image.new("L", (4, 4), shade).save(tmp_path / str(label) / f"{number}.png")
    for cache_bytes in (2**20, 0):
        spec = InputSpec((4, 4), channels=1, mean=(0,), std=(1 / 255,))
        folder = ImageFolder(tmp_path, spec, cache_bytes=cache_bytes)
        x, y = PKSampler(folder, classes_per_batch=2, samples_per_class=3)[0]
        assert x.shape == (6, 4, 4, 1)
        assert x.max() > 1
        np.testing.assert_array_equal(np.round(x[:, 0, 0, 0]) // 100, y)


def test_anything_with_items():
    items = [np.full((2,), value, "float32") for value in range(len(LABELS))]
    x, y = PKSampler(items, LABELS.tolist(), 3, 2)[0]
    assert x.shape == (6, 2)
    np.testing.assert_array_equal(LABELS[x[:, 1].astype(int)], y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes_per_batch": 6}, "classes_per_batch=6 needs as many classes; the labels hold 5"),
        ({"classes_per_batch": 0}, "classes_per_batch must be a positive integer"),
        ({"samples_per_class": 1.5}, "samples_per_class must be a positive integer"),
        ({"passes": 0}, "passes must be a positive integer"),
        ({"seed": -1}, "seed must be an integer"),
        ({"tail": "keep"}, "tail must be one of"),
        ({"short_classes": "drop"}, "short_classes must be one of"),
        (
            {"short_classes": "error"},
            "samples_per_class=4 needs .* fewer have 2 classes, the first of them 2",
        ),
        ({"y": LABELS[:-1]}, r"y must hold one integer .* received int64 of shape \(20,\)"),
        ({"y": LABELS / 2}, "received float64"),
        ({"y": None}, "y must hold the labels"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PKSampler(SAMPLES, **{"y": LABELS, "classes_per_batch": 2, **arguments})


def test_labels_beside_a_data_set():
    with pytest.raises(ValueError, match="y must be None beside a data set"):
        PKSampler(ArrayDataset(SAMPLES, LABELS), LABELS, 2)
