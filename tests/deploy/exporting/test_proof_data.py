import numpy as np
import pytest

from kdl.data import InputSpec, Samples
from kdl.deploy.exporting.output_comparison import compare_output
from kdl.deploy.exporting.proof_data import part, small_scales, unjudged_channels, weaknesses
from kdl.deploy.exporting.tolerances import TOLERANCES


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


@pytest.mark.parametrize(
    ("spec", "scale", "doubts"),
    [
        (InputSpec((2, 2), mean=(0.5,) * 3, std=(0.5,) * 3), lambda x: 2 * x - 1, False),
        (InputSpec((2, 2), mean=(0.5,) * 3, std=(0.5,) * 3), lambda x: x, True),
        (InputSpec((2, 2), std=(1 / 255,) * 3), lambda x: x, True),
        (InputSpec((2, 2)), lambda x: x, False),
        (None, lambda x: x, False),
    ],
)
def test_images_of_too_small_a_scale_are_doubted(spec, scale, doubts):
    images = np.random.default_rng(0).uniform(0, 1, (30, 2, 2, 3)).astype("float32")
    found = small_scales(spec, Samples(scale(images)))
    assert bool(found) == doubts
    if doubts:
        assert "scaled" in found[0]
    assert not small_scales(spec, Samples(images[:5]))


def test_channels_that_are_not_judged_are_told():
    y = np.random.default_rng(0).normal(0, 5, (50, 128))
    y[:, 0] *= 200
    output = compare_output("embedding", y, y, TOLERANCES["int8"], "features")
    assert output.unjudged == pytest.approx(127 / 128)
    assert "99% of the channels of embedding" in unjudged_channels([output])[0]
    same = compare_output("embedding", y[:, 1:], y[:, 1:], TOLERANCES["int8"], "features")
    assert unjudged_channels([same]) == []
