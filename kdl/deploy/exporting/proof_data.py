"""Enough data for ranges and for a proof, and other data for the one than for the other."""

import itertools

import numpy as np

# What serves for both is parted from this number of samples on.
_TO_PART = 100
_LEAST_RANGES = 20
_LEAST_PROOF = 50
# The share of samples that served for the ranges, too, from which on it is told.
_MUCH = 0.2
# The share of the numbers that images become which that many samples of images have.
_COVERED = 0.6
# The share of channels from which on it is told that they are not judged.
_FEW_JUDGED = 0.5


def part(samples):
    """Parts samples into those for the ranges and those for the proof.

    From 100 samples on one in five, and 50 at least, at even distances, is kept for the proof.
    Fewer serve for both.

    Args:
        samples: `kdl.data.Samples`, or anything else of that length.

    Returns:
        Pair of boolean arrays `(samples,)`: which ones are for the ranges, and which for the proof.
    """
    count = len(samples)
    if count < _TO_PART:
        return np.ones(count, bool), np.ones(count, bool)
    kept = max(_LEAST_PROOF, count // 5)
    proof = np.zeros(count, bool)
    proof[np.linspace(0, count - 1, kept).round().astype(int)] = True
    return ~proof, proof


def weaknesses(ranges, proof):
    """Reasons why the proof of an int8 file is weak, in words, as a list.

    Args:
        ranges: `Samples` that the ranges of the activations were measured on; None if they are
            known.
        proof: `Samples` that the file is compared on.
    """
    found = []
    known = set() if ranges is None else _digests(ranges)
    different = _digests(proof)
    if ranges is not None and len(known) < _LEAST_RANGES:
        found.append(
            f"the ranges are measured on {_count(known)} ({_LEAST_RANGES} at least are usual)"
        )
    if len(different) < _LEAST_PROOF:
        found.append(
            f"the file is compared on {_count(different)} ({_LEAST_PROOF} at least are usual)"
        )
    shared = len(different & known) / len(different)
    if shared == 1:
        found.append("the ranges were measured on the same inputs: pass other verification_data")
    elif shared >= _MUCH:
        found.append(
            f"the ranges were measured on {shared:.0%} of the inputs: pass other verification_data"
        )
    return found


def blind_spots(inputs):
    """Faults that the samples of several inputs cannot show, in words, as a list.

    Args:
        inputs: Dict: name of an input → array `(samples, …)` on which the file is compared.
    """
    if len(inputs) == 1 or any(len(x) == 1 for x in inputs.values()):
        return []
    same = [name for name, x in inputs.items() if (x == x[:1]).all()]
    found = [f"the input {name} is the same in all samples" for name in same]
    pairs = itertools.combinations([name for name in inputs if name not in same], 2)
    return found + [
        f"the inputs {one} and {other} are alike in all samples"
        for one, other in pairs
        if np.array_equal(inputs[one], inputs[other])
    ]


def small_scales(spec, samples):
    """Doubts that images are scaled as `spec` tells, in words, as a list.

    Args:
        spec: `kdl.data.InputSpec` of one of the inputs, or None.
        samples: `Samples` that the file was measured or compared on.
    """
    if spec is None or len(samples) < _LEAST_RANGES:
        return []
    images = samples.arrays[spec.place_among([x.shape[1:] for x in samples.arrays])]
    low, high = spec.limits
    share = np.ptp(images.astype("float64")) / (high - low)
    if share >= _COVERED:
        return []
    return [
        f"the images of the data span {images.min():.4g} … {images.max():.4g}, {share:.0%} of what "
        f"images become by {spec}, {low:.4g} … {high:.4g}: look whether they are scaled so"
    ]


def unjudged_channels(outputs):
    """Outputs most of whose channels are too small for the file's integers, in words, as a list.

    Args:
        outputs: `OutputComparison`s.
    """
    return [
        f"{output.unjudged:.0%} of the channels of {output.name} vary by less than a few steps of "
        f"its integers, and are not judged one by one"
        for output in outputs
        if output.unjudged > _FEW_JUDGED
    ]


def _digests(samples):
    return {
        hash(b"".join(np.ascontiguousarray(part).tobytes() for part in sample))
        for sample in zip(*samples.arrays, strict=True)
    }


def _count(digests):
    return "1 input" if len(digests) == 1 else f"{len(digests)} different inputs"
