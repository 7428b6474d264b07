import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdl.data import ArrayDataset


def numbers(count, **arguments):
    """A data set whose samples are 0, 1, 2, …"""
    values = np.arange(count)
    return ArrayDataset(values[:, None].astype("float32"), values, **arguments)


def served(dataset):
    return [label for _, labels in dataset for label in labels.tolist()]


def orders(dataset, epochs):
    found = []
    for _ in range(epochs):
        found.append(served(dataset))
        dataset.on_epoch_end()
    return found


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
)
def test_every_sample_once_an_epoch(count, batch_size, shuffle, seed, epoch):
    dataset = numbers(count, batch_size=batch_size, shuffle=shuffle, seed=seed)
    dataset.epoch = epoch
    batches = list(dataset)
    assert len(batches) == len(dataset) == -(-count // batch_size)
    assert all(len(y) == batch_size for _, y in batches[:-1])
    assert sorted(served(dataset)) == list(range(count))
    for x, y in batches:
        np.testing.assert_array_equal(x[:, 0], y)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 12))
def test_drop_remainder(count, batch_size):
    if count < batch_size:
        with pytest.raises(ValueError, match="leaves no batch"):
            numbers(count, batch_size=batch_size, drop_remainder=True)
        return
    dataset = numbers(count, batch_size=batch_size, drop_remainder=True)
    assert [len(y) for _, y in dataset] == [batch_size] * (count // batch_size)


def test_without_shuffle_the_order_is_that_of_the_arrays():
    dataset = numbers(7, batch_size=3, shuffle=False)
    assert orders(dataset, 2) == [list(range(7))] * 2


def test_order_follows_from_seed_and_epoch():
    runs = orders(numbers(50, batch_size=8, seed=1), 3)
    assert runs[0] != runs[1] != runs[2] != runs[0]
    assert runs == orders(numbers(50, batch_size=8, seed=1), 3)
    assert runs[0] != served(numbers(50, batch_size=8, seed=2))
    # Written down once: a run must stay repeatable in later versions.
    expected = np.random.default_rng([1, 2]).permutation(50).tolist()
    assert runs[2] == expected


def test_resumed_run_sees_the_same_batches():
    runs = orders(numbers(20, batch_size=6), 5)
    resumed = numbers(20, batch_size=6)
    resumed.epoch = 3
    assert orders(resumed, 2) == runs[3:]


def test_a_part_of_a_pass_is_no_epoch():
    dataset = numbers(20, batch_size=5)
    first = dataset[0][1]
    dataset.on_epoch_end()
    assert dataset.epoch == 0
    np.testing.assert_array_equal(dataset[0][1], first)
    for index in (1, 2, 3):
        _ = dataset[index]
    dataset.on_epoch_end()
    assert dataset.epoch == 1


def test_indexing():
    dataset = numbers(7, batch_size=3, shuffle=False)
    assert dataset[-1][1].tolist() == [6]
    assert dataset[np.int64(1)][1].tolist() == [3, 4, 5]
    for index in (3, -4):
        with pytest.raises(IndexError, match="3 batches"):
            dataset[index]


def test_keeps_dtypes_and_target_shapes():
    dataset = ArrayDataset(np.zeros((4, 2, 2, 1), "float16"), np.eye(4, dtype="float32"), 3)
    x, y = dataset[0]
    assert (x.dtype, x.shape) == (np.float16, (3, 2, 2, 1))
    assert (y.dtype, y.shape) == (np.float32, (3, 4))
    assert dataset.num_samples == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": np.zeros(4)}, "same number of samples"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "at least one"),
        ({"x": 1.0}, "same number of samples"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.0}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed"),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataset(**{"x": np.zeros((5, 2)), "y": np.zeros(5), **arguments})


@pytest.mark.parametrize("epoch", [-1, 1.5, True])
def test_refuses_epoch(epoch):
    dataset = numbers(3)
    with pytest.raises(ValueError, match="epoch must be an integer of at least 0"):
        dataset.epoch = epoch


def linear_model():
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def regression():
    x = np.random.default_rng(0).normal(size=(48, 3)).astype("float32")
    return ArrayDataset(x, x.sum(axis=1, keepdims=True) ** 2, batch_size=4)


@pytest.mark.every_backend
def test_fit_counts_its_epochs_and_nothing_else():
    dataset, epochs = regression(), []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: epochs.append(dataset.epoch)
    )
    # The first fit draws a batch to build the model, which must not count.
    model = linear_model()
    model.fit(dataset, epochs=2, callbacks=[watch], shuffle=False, verbose=0)
    model.fit(dataset, epochs=2, callbacks=[watch], verbose=0)
    assert epochs == [0, 1, 2, 3]
    assert dataset.epoch == 4


def test_batches_drawn_before_fit_come_again_within_it():
    drawn = []

    def augment(x, rng):
        drawn.append(rng.random())
        return x

    model, dataset = linear_model(), numbers(20, batch_size=4, augment=augment)
    before_each_fit = []
    for _ in range(2):
        drawn.clear()
        model.fit(dataset, shuffle=False, verbose=0)
        before_each_fit.append(len(drawn) - 5)
        assert drawn[:-5] == drawn[-5:][: len(drawn) - 5]
    assert before_each_fit == ([2, 2] if keras.backend.backend() == "tensorflow" else [1, 0])


def test_steps_per_epoch_counts_passes():
    dataset = regression()
    linear_model().fit(dataset, epochs=3, steps_per_epoch=6, shuffle=False, verbose=0)
    assert dataset.epoch == 1


@pytest.mark.every_backend
@pytest.mark.parametrize("epoch", [2, 0])
def test_resumed_fit_gives_the_same_losses(epoch):
    whole = linear_model().fit(regression(), epochs=4, shuffle=False, verbose=0)
    model, resumed = linear_model(), regression()
    model.fit(regression(), epochs=2, shuffle=False, verbose=0)
    resumed.epoch = epoch
    rest = model.fit(resumed, epochs=2, shuffle=False, verbose=0)
    # From the wrong epoch the batches, and so the losses, differ.
    assert (rest.history["loss"] == whole.history["loss"][2:]) == (epoch == 2)


def test_callback_ties_the_order_to_the_epochs_of_fit():
    dataset, served_epochs = regression(), []
    tie = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda k, logs: setattr(dataset, "epoch", k),
        on_train_batch_end=lambda batch, logs: served_epochs.append(dataset.epoch),
    )
    linear_model().fit(dataset, initial_epoch=5, epochs=7, callbacks=[tie], verbose=0)
    assert served_epochs == [5] * 12 + [6] * 12


@pytest.mark.every_backend
def test_workers_of_keras_are_refused():
    """They serve samples twice, or every epoch in the same order."""
    dataset = numbers(24, batch_size=4)
    dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size = 1, False, 4
    with pytest.raises(ValueError, match="workers=2 would serve some samples twice"):
        dataset.workers = 2
    with pytest.raises(ValueError, match="use_multiprocessing=True would serve"):
        dataset.use_multiprocessing = True
    assert (dataset.workers, dataset.use_multiprocessing) == (1, False)
    seen = []
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: seen.append(dataset.epoch))
    model.fit(dataset, epochs=2, shuffle=False, verbose=0, callbacks=[watch])
    assert dataset.epoch == 2
