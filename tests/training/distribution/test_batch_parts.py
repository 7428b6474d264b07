import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdl.data import ArrayDataset
from kdl.training.distribution.batch_parts import BatchParts


def parts(x, count, y=None, batch_size=None, shuffle=False, weights=None):
    return [BatchParts(x, y, weights, batch_size, shuffle, n, count, seed=3) for n in range(count)]


@given(st.integers(1, 40), st.integers(1, 4), st.integers(4, 9), st.booleans())
def test_the_parts_of_a_batch_are_the_batch(samples, count, batch_size, shuffle):
    """All processes together see each sample once, but for a last batch of too few."""
    x = np.arange(samples)
    datasets = parts(x, count, y=-x, batch_size=batch_size, shuffle=shuffle)
    for _ in range(2):
        seen = []
        for index in range(len(datasets[0])):
            batches = [dataset[index] for dataset in datasets]
            sizes = [len(a) for a, _ in batches]
            assert min(sizes) >= 1
            assert max(sizes) - min(sizes) <= 1
            assert sum(sizes) <= batch_size
            assert all((a == -b).all() for a, b in batches)
            seen += [value for a, _ in batches for value in a]
        left = samples % batch_size if samples % batch_size < count else 0
        assert len(seen) == len(set(seen)) == samples - left
        if not shuffle:
            assert seen == list(range(samples - left))
        for dataset in datasets:
            dataset.on_epoch_end()


def test_order_of_each_epoch_is_alike_in_all_processes():
    datasets = parts(np.arange(64), 2, batch_size=64, shuffle=True)
    orders = []
    for _ in range(2):
        orders.append(np.concatenate([dataset[0][0] for dataset in datasets]))
        for dataset in datasets:
            dataset.on_epoch_end()
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(64))
    assert (orders[0] != orders[1]).any()


def test_dataset_is_split_batch_by_batch():
    x = np.arange(10, dtype="float32")[:, None]
    whole, copy = (ArrayDataset(x, np.arange(10), batch_size=4, seed=1) for _ in range(2))
    for expected, *cut in zip(whole, *parts(copy, 2), strict=True):
        for part in range(2):
            joined = np.concatenate([batch[part] for batch in cut])
            np.testing.assert_array_equal(joined, expected[part])


def test_structures_and_weights_are_split():
    x = {"a": np.arange(6), "b": np.arange(12).reshape(6, 2)}
    first, second = parts(x, 2, y=None, weights=np.ones(6), batch_size=6)
    assert first[0][0]["b"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert second[0][0]["a"].tolist() == [3, 4, 5]
    assert first[0][1] is None
    assert first[0][2].tolist() == [1, 1, 1]


def test_batch_of_fewer_samples_than_processes_raises():
    dataset = parts(ArrayDataset(np.zeros((5, 1)), np.zeros(5), batch_size=4), 2)[0]
    with pytest.raises(ValueError, match=r"1 samples for 2 processes.*drop_remainder=True"):
        dataset[1]
    with pytest.raises(ValueError, match="batch_size=1 is too small for 2 processes"):
        parts(np.zeros(5), 2, batch_size=1)


def test_pass_over_several_epochs_serves_every_batch():
    """After `steps_per_epoch` steps Keras ends an epoch, and goes on with the same pass."""
    [dataset] = parts(np.arange(64), 1, batch_size=8, shuffle=True)
    seen = []
    for start in (0, 4):
        seen += [value for index in range(start, start + 4) for value in dataset[index][0]]
        dataset.on_epoch_end()
    assert sorted(seen) == list(range(64))


class Loaded(keras.utils.PyDataset):
    """A dataset as Keras documents it, without `__len__`."""

    batches = 3

    @property
    def num_batches(self):
        return self.batches

    def __getitem__(self, index):
        return np.full((4, 1), index), np.zeros(4)


def test_datasets_are_loaded_by_the_process_itself():
    """Keras's loaders would fetch ahead in each process by its own speed."""
    with pytest.warns(UserWarning, match="batches of Loaded are loaded one after the other"):
        [part] = parts(Loaded(workers=2, use_multiprocessing=True), 1)
    assert (len(part), part.workers, part.use_multiprocessing) == (3, 1, False)


def test_data_that_cannot_be_split_raises():
    with pytest.raises(ValueError, match=r"as many samples; received \[10, 12\]"):
        parts(np.ones((10, 2)), 2, y=np.ones((12, 1)))
    with pytest.raises(ValueError, match="gives targets and weights itself"):
        parts(Loaded(), 2, y=np.zeros(4))
    endless = Loaded()
    endless.batches = None
    with pytest.raises(ValueError, match="must have an end"):
        parts(endless, 2)


@pytest.mark.parametrize("data", [iter([1]), None, ["a"]])
def test_input_of_no_data_raises(data):
    with pytest.raises(ValueError, match=r"x must be arrays, a keras.utils.PyDataset, or"):
        parts(data, 2)


def test_fit_of_batch_parts_trains():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    [dataset] = parts(np.ones((9, 2), "float32"), 1, y=np.ones((9, 1), "float32"), batch_size=4)
    history = model.fit(dataset, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2


class Frame:
    """As of pandas, whose rows go by labels."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape = self.values.shape

    def to_numpy(self):
        return self.values


def test_rows_of_pandas_go_by_their_places():
    [part] = parts(Frame(np.arange(6)), 1, y=Frame(-np.arange(6)), batch_size=6)
    np.testing.assert_array_equal(part[0], [np.arange(6), -np.arange(6)])
