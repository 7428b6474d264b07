import keras
import numpy as np
import pytest

from kdl.detection import BalancedSampler

pytestmark = pytest.mark.every_backend


def masks(positives, background, left_out=5):
    kinds = np.array([1] * positives + [0] * background + [2] * left_out)
    kinds = np.random.default_rng(0).permutation(kinds)[None]
    return kinds == 1, kinds < 2


def counts(sampler, positives, background, seed=0):
    positive, valid = masks(positives, background)
    drawn = keras.ops.convert_to_numpy(sampler(positive, valid, seed))
    assert not (drawn & ~valid).any()
    return int((drawn & positive).sum()), int((drawn & ~positive).sum())


@pytest.mark.parametrize(
    ("positives", "background", "expected"),
    [(30, 50, (4, 12)), (2, 50, (2, 14)), (0, 50, (0, 16)), (30, 3, (4, 3)), (0, 0, (0, 0))],
)
def test_sample_has_as_many_of_each_as_asked_for(positives, background, expected):
    assert counts(BalancedSampler(16, 0.25), positives, background) == expected


def test_draws_are_uniform_and_differ():
    positive, valid = np.arange(10)[None] < 4, np.ones((1, 10), bool)
    seed, sampler = keras.random.SeedGenerator(0), BalancedSampler(4, 0.5)
    drawn = [keras.ops.convert_to_numpy(sampler(positive, valid, seed))[0] for _ in range(150)]
    shares = np.mean(drawn, 0)
    np.testing.assert_allclose(shares[:4], 0.5, atol=0.15)
    np.testing.assert_allclose(shares[4:], 1 / 3, atol=0.15)


def test_bad_arguments_raise_and_config_is_kept():
    assert BalancedSampler.from_config(BalancedSampler(3, 0.1).get_config()).count == 3
    with pytest.raises(ValueError, match="count must be a positive integer"):
        BalancedSampler(0)
    with pytest.raises(ValueError, match="positive_fraction must be from 0 to 1"):
        BalancedSampler(8, 2.0)
