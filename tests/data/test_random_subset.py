import numpy as np
import pytest

from kdl.data import random_subset


def test_arrays_stay_together_and_none_comes_twice():
    x = np.arange(20).reshape(20, 1)
    taken, labels = random_subset((x, np.arange(20)), count=7)
    np.testing.assert_array_equal(taken[:, 0], labels)
    assert len(set(labels.tolist())) == 7
    assert labels.tolist() != sorted(labels.tolist())


def test_without_count_all_are_shuffled_and_a_smaller_count_takes_the_first_of_them():
    [whole] = random_subset((np.arange(50),))
    [some] = random_subset((np.arange(50),), count=5)
    assert sorted(whole.tolist()) == list(range(50))
    np.testing.assert_array_equal(some, whole[:5])
    [more] = random_subset((np.arange(50),), count=99)
    np.testing.assert_array_equal(more, whole)
    [other] = random_subset((np.arange(50),), seed=1)
    assert not np.array_equal(whole, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arrays": (np.zeros(3), np.zeros(4))}, r"received \[3, 4\]"),
        ({"arrays": (np.zeros(3),), "count": 0}, "count"),
        ({"arrays": (np.zeros(3),), "seed": -1}, "seed"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_subset(**arguments)
