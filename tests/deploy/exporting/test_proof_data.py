import numpy as np
import pytest

from kdl.data import Samples
from kdl.deploy.exporting.proof_data import part, weaknesses


@pytest.mark.parametrize(
    ("count", "ranges", "proof"), [(99, 99, 99), (100, 50, 50), (200, 150, 50), (500, 400, 100)]
)
def test_enough_samples_are_parted(count, ranges, proof):
    for_ranges, for_proof = part(np.zeros((count, 2)))
    assert (for_ranges.sum(), for_proof.sum()) == (ranges, proof)
    if count >= 100:
        assert not np.any(for_ranges & for_proof)
        assert np.all(for_ranges | for_proof)
        assert np.diff(np.flatnonzero(for_proof)).max() <= count / proof + 1


def test_enough_different_inputs_are_no_weakness():
    inputs = np.arange(70.0)[:, None]
    assert weaknesses(Samples(inputs[:20]), Samples(inputs[20:])) == []
    assert weaknesses(None, Samples(inputs[20:])) == []


@pytest.mark.parametrize(
    ("ranges", "proof", "words"),
    [
        (np.arange(19), np.arange(20, 70), ["ranges are measured on 19 different inputs"]),
        (np.arange(20), np.arange(20, 69), ["compared on 49 different inputs"]),
        (None, np.zeros(80), ["compared on 1 input "]),
        (np.zeros(80), np.arange(1, 60), ["measured on 1 input "]),
        (np.arange(60), np.arange(60), ["on the same inputs: pass other verification_data"]),
        (np.arange(500), np.arange(250, 1000), ["measured on 33% of the inputs"]),
        (np.zeros(1), np.zeros(1), ["measured on 1 input", "compared on 1 input", "same inputs"]),
    ],
)
def test_few_and_equal_inputs_are_named(ranges, proof, words):
    ranges, proof = (
        x if x is None else Samples(x[:, None].astype("float32")) for x in (ranges, proof)
    )
    found = weaknesses(ranges, proof)
    assert len(found) == len(words)
    for line, part_of_it in zip(found, words, strict=True):
        assert part_of_it in line
